//! Sizes for people.

/// A size with two places behind the point: `256.00 GB`, `3.00 Bytes`, `1.00 Kb`. The unit is the greatest that fits, or
/// the wanted one, a letter.
pub fn human(size: f64, bits: bool, wanted: Option<&str>) -> String {
    let units = ["Y", "Z", "E", "P", "T", "G", "M", "K"];
    let base = if bits { "bits" } else { "Bytes" };
    for (at, unit) in units.iter().enumerate() {
        let limit = 1024f64.powi((units.len() - at) as i32);
        let fits = match wanted {
            Some(wanted) => wanted.eq_ignore_ascii_case(unit),
            None => size >= limit,
        };
        if fits {
            return format!("{:.2} {unit}{}", size / limit, if bits { "b" } else { "B" });
        }
    }
    format!("{size:.2} {base}")
}
