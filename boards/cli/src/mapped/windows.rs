//! Windows lets nobody cut a file short that is mapped. Where its disk fails, the system ends the
//! program.

/// Nothing can be done.
pub fn explain_lost_files() {}
