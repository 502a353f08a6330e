//! Committed renders: one file per object, compared and rewritten.
