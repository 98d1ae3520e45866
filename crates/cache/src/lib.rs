//! A bounded cache with an optional Redis second level, single flight and warm-up.
