//! What the fuzz targets share with plain `cargo test`, which includes these modules by path.

pub mod ask;
pub mod core_file;
pub mod image;
pub mod program;
pub mod recipe;
pub mod targets;
pub mod types;
pub mod watch;
