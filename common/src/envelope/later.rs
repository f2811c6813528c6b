//! Keys of the format that this version cannot enforce: decoded as strictly as the others, then refused by name.
//!
//! Nothing is kept of them. When one becomes enforceable, its decoder moves beside the others and gains an encoder.

use super::cbor::{Reader, Texts};
use super::error::ShapeFault;
use crate::limits::DIMENSIONS_MAX;

/// `budgets`: what may be consumed, by unit.
pub(super) fn budgets(reader: &mut Reader<'_>) -> Result<(), ShapeFault> {
    let count = reader.map("budgets", 1, DIMENSIONS_MAX)?;
    let mut order = Texts::new();
    for _ in 0..count {
        order.check(reader.text("budgets")?, ShapeFault::KeyOrder { at: "budgets" })?;
        reader.uint("budgets")?;
    }
    Ok(())
}
