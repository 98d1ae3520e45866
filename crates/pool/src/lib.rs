//! Objects and buffers used again: pools whose guards return on drop.
