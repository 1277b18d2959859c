//! What the living wait for, and how soon that may be called stuck.
