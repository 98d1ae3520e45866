//! How the program talks to the person who started it.
//!
//! Whoever reads its output may leave first, as `head` does. That is no reason to stop, nor to
//! panic as the standard macros do: what cannot be said is not said.

/// Says a line on the standard output.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

/// Says a line on the standard error.
macro_rules! complain {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        _ = writeln!(std::io::stderr(), $($words)*);
    }};
}
