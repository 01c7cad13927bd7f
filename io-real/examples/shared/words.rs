//! Numbers and sizes on a command line.

/// A number above zero.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| format!("{text:?} is not a number above zero"))
}

/// Bytes, perhaps with K, M or G behind the number.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let units = [("K", 10), ("M", 20), ("G", 30)];
    let cut = |(unit, shift)| Some((text.strip_suffix(unit)?, shift));
    let (digits, shift) = units.into_iter().find_map(cut).unwrap_or((text, 0));
    let bytes = count(digits)?.checked_mul(1 << shift);
    bytes.ok_or_else(|| format!("{text:?} is more than there is"))
}
