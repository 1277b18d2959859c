//! Where records come from. Live and replay differ here and in nothing else.

pub mod dump;
pub mod live;
pub mod replay;
pub mod text;
