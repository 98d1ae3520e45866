//! Where one frame of HTTP/2 ends and the next begins, and no more than that.
//!
//! A head that comes byte by byte is a frame that does not end, or one that says that more follows.
//! From outside of h2 this is all that tells it from a connection with nothing to say.

/// What each frame begins with.
const HEADER: usize = 9;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Follows the frames that a client sends.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    header: [u8; HEADER],
    /// How much of the header is there.
    filled: usize,
    /// How much of the frame is to come.
    rest: usize,
    /// A head was begun and has not ended.
    in_head: bool,
}

// === impl Frames ===

impl Frames {
    /// Takes what was read, and returns how many heads and other frames came to their end.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> u64 {
        let mut ended = 0;
        while !bytes.is_empty() {
            if self.filled < HEADER {
                let take = bytes.len().min(HEADER - self.filled);
                let (header, after) = bytes.split_at(take);
                self.header[self.filled..self.filled + take].copy_from_slice(header);
                self.filled += take;
                bytes = after;
                if self.filled < HEADER {
                    break;
                }
                let [a, b, c, ..] = self.header;
                self.rest = u32::from_be_bytes([0, a, b, c]) as usize;
            }
            let take = bytes.len().min(self.rest);
            self.rest -= take;
            bytes = &bytes[take..];
            if self.rest > 0 {
                break;
            }
            let [_, _, _, kind, flags, ..] = self.header;
            self.filled = 0;
            self.in_head = matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS == 0;
            ended += u64::from(!self.in_head);
        }
        ended
    }

    /// Whether more has to come before anything can be made of what has.
    pub(crate) fn is_inside(&self) -> bool {
        self.in_head || self.filled > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, len: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, len, kind, flags, 0, 0, 0, 1];
        frame.resize(HEADER + usize::from(len), b'x');
        frame
    }

    #[test]
    fn frames_are_told_apart_however_they_are_cut() {
        let sent = [
            frame(4, 0, 0),
            frame(HEADERS, 0, 20),
            frame(CONTINUATION, 0, 0),
            frame(CONTINUATION, END_HEADERS, 7),
            frame(0, 1, 200),
            frame(HEADERS, END_HEADERS | 1, 3),
        ];
        let ends: Vec<usize> = sent
            .iter()
            .scan(0, |end, frame| {
                *end += frame.len();
                Some(*end)
            })
            .collect();
        // Not between frames alone, but also between the parts of one head.
        let outside = [0, ends[0], ends[3], ends[4], ends[5]];
        let all = sent.concat();
        for piece in 1..=all.len() {
            let (mut frames, mut ended, mut position) = (Frames::default(), 0, 0);
            for part in all.chunks(piece) {
                ended += frames.read(part);
                position += part.len();
                assert_eq!(frames.is_inside(), !outside.contains(&position), "{piece} {position}");
            }
            assert_eq!(ended, 4);
        }
    }
}
