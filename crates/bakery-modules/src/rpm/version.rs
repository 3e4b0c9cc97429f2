//! Versions of rpm's packages, and their order (`rpmio/rpmvercmp.c`).

use std::cmp::Ordering;
use std::fmt;

/// Epoch, version and release; one without a release stands for every release of that version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Evr {
    pub(crate) epoch: u64,
    pub(crate) version: String,
    pub(crate) release: Option<String>,
}

impl Evr {
    pub(crate) fn new(epoch: u64, version: &str, release: Option<&str>) -> Self {
        Self { epoch, version: version.to_owned(), release: release.map(str::to_owned) }
    }

    /// Reads `[epoch:]version[-release]`.
    pub(crate) fn read(text: &str) -> Self {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) if epoch.bytes().all(|b| b.is_ascii_digit()) => {
                (epoch.parse().unwrap_or(0), rest)
            }
            _ => (0, text),
        };
        match rest.rsplit_once('-') {
            Some((version, release)) => Self::new(epoch, version, Some(release)),
            None => Self::new(epoch, rest, None),
        }
    }

    /// How it stands to another; releases count if both have one.
    pub(crate) fn compared(&self, other: &Self) -> Ordering {
        let releases = || match (&self.release, &other.release) {
            (Some(one), Some(two)) => compare(one, two),
            _ => Ordering::Equal,
        };
        self.epoch.cmp(&other.epoch).then_with(|| compare(&self.version, &other.version)).then_with(releases)
    }
}

impl fmt::Display for Evr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch != 0 {
            write!(f, "{}:", self.epoch)?;
        }
        f.write_str(&self.version)?;
        self.release.iter().try_for_each(|release| write!(f, "-{release}"))
    }
}

/// The order of two versions or two releases: piece by piece, numbers as numbers and newer than letters; `~` is older than
/// nothing at all, `^` is newer than nothing and older than a further piece.
fn compare(one: &str, two: &str) -> Ordering {
    let is_mark = |c: char| c.is_ascii_alphanumeric() || c == '~' || c == '^';
    let (mut one, mut two) = (one, two);
    while !one.is_empty() || !two.is_empty() {
        one = one.trim_start_matches(|c| !is_mark(c));
        two = two.trim_start_matches(|c| !is_mark(c));
        match (one.strip_prefix('~'), two.strip_prefix('~')) {
            (Some(rest), Some(other)) => {
                (one, two) = (rest, other);
                continue;
            }
            (Some(_), None) => return Ordering::Less,
            (None, Some(_)) => return Ordering::Greater,
            (None, None) => {}
        }
        match (one.strip_prefix('^'), two.strip_prefix('^')) {
            (Some(rest), Some(other)) => {
                (one, two) = (rest, other);
                continue;
            }
            (Some(_), None) => return if two.is_empty() { Ordering::Greater } else { Ordering::Less },
            (None, Some(_)) => return if one.is_empty() { Ordering::Less } else { Ordering::Greater },
            (None, None) => {}
        }
        if one.is_empty() || two.is_empty() {
            break;
        }
        let is_number = one.starts_with(|c: char| c.is_ascii_digit());
        let (mine, rest) = piece(one, is_number);
        let (others, other) = piece(two, is_number);
        (one, two) = (rest, other);
        let order = match (is_number, others.is_empty()) {
            // The other's is of the other kind.
            (true, true) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (true, false) => {
                let (mine, others) = (mine.trim_start_matches('0'), others.trim_start_matches('0'));
                mine.len().cmp(&others.len()).then_with(|| mine.cmp(others))
            }
            (false, false) => mine.cmp(others),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    // The one with something left is newer.
    one.len().min(1).cmp(&two.len().min(1))
}

/// The digits, or the letters, that a text begins with, and the rest.
fn piece(text: &str, of_digits: bool) -> (&str, &str) {
    let is_of_kind = |c: char| if of_digits { c.is_ascii_digit() } else { c.is_ascii_alphabetic() };
    text.split_at(text.find(|c| !is_of_kind(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_the_order_that_rpm_gives_them() {
        // As `rpm --eval '%{lua: print(rpm.vercmp("…", "…"))}'` says.
        for (one, order, two) in [
            ("1.0", '=', "1.0"),
            ("1.0", '<', "1.1"),
            ("1.10", '>', "1.9"),
            ("1.0", '<', "1.0.1"),
            ("1.05", '=', "1.5"),
            ("1.0a", '>', "1.0"),
            ("1.a", '<', "1.1"),
            ("2_0", '=', "2.0"),
            ("1.0~rc1", '<', "1.0"),
            ("1.0~rc1", '<', "1.0~rc2"),
            ("1.0^", '>', "1.0"),
            ("1.0^git1", '<', "1.0.1"),
            ("1.0^git1~pre", '<', "1.0^git1"),
            ("xyz10", '<', "xyz10.1"),
            ("10xyz", '<', "10.1xyz"),
            ("1b.fc17", '<', "1.fc17"),
            ("20101121", '>', "20101121~pre"),
            ("a", '<', "b"),
            ("", '<', "1"),
            ("a.", '=', "a"),
        ] {
            let expected = match order {
                '<' => Ordering::Less,
                '>' => Ordering::Greater,
                _ => Ordering::Equal,
            };
            assert_eq!(compare(one, two), expected, "{one} {order} {two}");
            assert_eq!(compare(two, one), expected.reverse(), "{two} and {one}");
        }
    }

    #[test]
    fn an_epoch_comes_first_and_a_release_counts_where_both_have_one() {
        let order = |one, two| Evr::read(one).compared(&Evr::read(two));
        assert_eq!(order("1:1.0-1", "2.0-1"), Ordering::Greater);
        assert_eq!(order("1.0-2", "1.0"), Ordering::Equal);
        assert_eq!(order("1.0-2", "1.0-10"), Ordering::Less);
        assert_eq!(Evr::read("1:1.0-2").to_string(), "1:1.0-2");
        assert_eq!(Evr::read("0:1.0-2").to_string(), "1.0-2");
    }
}
