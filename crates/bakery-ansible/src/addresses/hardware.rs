//! Addresses of hardware, as `netaddr.EUI` reads them.

/// An address of 48 or 64 bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hardware {
    pub(super) value: u64,
    /// 48 or 64.
    pub(super) bits: u32,
}

/// How many digits each of how many words may have, between which separators; an address without any has all digits in one.
const FORMS: &[(u32, usize, usize, usize, &[char])] = &[
    (48, 6, 1, 2, &[':', '-']),
    (48, 3, 1, 4, &[':', '-', '.']),
    (48, 2, 5, 6, &[':', '-']),
    (48, 1, 11, 12, &[]),
    (64, 8, 1, 2, &[':', '-']),
    (64, 4, 1, 4, &[':', '-', '.']),
    (64, 1, 16, 16, &[]),
];

impl Hardware {
    pub(super) fn parse(text: &str) -> Option<Self> {
        FORMS.iter().find_map(|(bits, count, least, most, separators)| {
            let separator = separators.iter().find(|s| text.contains(**s));
            let words: Vec<&str> = separator.map_or_else(|| vec![text], |s| text.split(*s).collect());
            let fit = |word: &&str| {
                (*least..=*most).contains(&word.len()) && word.chars().all(|c| c.is_ascii_hexdigit())
            };
            if words.len() != *count || !words.iter().all(fit) {
                return None;
            }
            let width = bits / u32::try_from(*count).ok()?;
            let mut value = 0u64;
            for word in words {
                value = value.checked_shl(width).unwrap_or(0) | u64::from_str_radix(word, 16).ok()?;
            }
            Some(Self { value, bits: *bits })
        })
    }

    /// The address in words of so many bits: upper or lower case, filled up with zeros or not.
    fn words(self, width: u32, separator: &str, filled: bool) -> String {
        let words = (0..self.bits / width).rev().map(|at| {
            let word = (self.value >> (at * width)) & (u64::MAX >> (64 - width));
            let digits = if filled { width as usize / 4 } else { 1 };
            format!("{word:0digits$x}")
        });
        words.collect::<Vec<_>>().join(separator)
    }

    /// The address in the words of a system; `None` for a name that is none.
    pub(super) fn written(self, dialect: &str) -> Option<String> {
        Some(match dialect {
            "bare" => self.words(self.bits, "", true).to_uppercase(),
            "cisco" => self.words(16, ".", true),
            "eui48" | "win" => self.words(8, "-", true).to_uppercase(),
            "linux" => self.words(8, ":", true),
            "pgsql" | "postgresql" | "psql" => self.words(24, ":", true),
            "unix" => self.words(8, ":", false),
            _ => return None,
        })
    }

    /// The part of an address of version 6 that names the host (RFC 4291, appendix A).
    pub(super) fn interface(self) -> u64 {
        let long = match self.bits {
            48 => ((self.value >> 24) << 40) | 0xff_fe00_0000 | (self.value & 0xff_ffff),
            _ => self.value,
        };
        long ^ (1 << 57)
    }
}
