//! Do those born here end?
