//! Bundles under attack. The names are those of The Update Framework, which collected what goes wrong.

mod attacks;
mod build;
mod mesh;
mod rollback;
