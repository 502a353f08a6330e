//! Checks rendered program configurations: with the real program where it can be had, with key lists elsewhere.
