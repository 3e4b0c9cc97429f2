//! Random numbers as Python's `random` draws them: with a seed the same ones, from the system otherwise.

use rand_mt::Mt;
use sha2::Digest as _;

use crate::Value;

/// A source of random numbers.
#[derive(Debug)]
pub struct Random(Option<Box<Mt>>);

impl Random {
    /// Numbers that nobody can foretell (`SystemRandom`).
    pub fn of_system() -> Self {
        Self(None)
    }

    /// Python's `Random(seed)` for a text (`seed` version 2) or a whole number; the system's numbers without a seed.
    ///
    /// # Errors
    /// For a seed of another type.
    pub fn seeded(seed: &Value) -> Result<Self, String> {
        let bytes = match seed {
            Value::None => return Ok(Self::of_system()),
            Value::Str(text) => {
                let text = text.as_str().as_bytes();
                [text, &sha2::Sha512::digest(text)].concat()
            }
            Value::Int(number) => number.unsigned_abs().to_be_bytes().to_vec(),
            Value::Big(number) => number.to_bytes_be().1,
            Value::Bool(on) => vec![u8::from(*on)],
            other => {
                return Err(format!(
                    "The only supported seed types are: None,\nint, float, str, bytes, and bytearray, not {}",
                    other.type_name()
                ));
            }
        };
        // A number in words of 32 bits, the lowest first, without those that are zero at its end.
        let mut key: Vec<u32> = bytes
            .rchunks(4)
            .map(|word| word.iter().fold(0, |number, byte| (number << 8) | u32::from(*byte)))
            .collect();
        while key.len() > 1 && key.last() == Some(&0) {
            key.pop();
        }
        Ok(Self(Some(Box::new(Mt::new_with_key(key)))))
    }

    fn word(&mut self) -> u32 {
        match &mut self.0 {
            Some(twister) => twister.next_u32(),
            // The first field of a random identifier has no bits that are fixed.
            None => uuid::Uuid::new_v4().as_fields().0,
        }
    }

    /// A number of so many bits, 128 at most.
    fn bits(&mut self, count: u32) -> u128 {
        let mut number = 0u128;
        let mut done = 0;
        while done < count {
            let wanted = (count - done).min(32);
            number |= u128::from(self.word() >> (32 - wanted)) << done;
            done += wanted;
        }
        number
    }

    /// A number from 0 to below `end`, which is more than 0.
    pub fn below(&mut self, end: u128) -> u128 {
        let bits = u128::BITS - end.leading_zeros();
        loop {
            let number = self.bits(bits);
            if number < end {
                return number;
            }
        }
    }

    /// One of some items; `None` when there are none.
    pub fn choice<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() {
            return None;
        }
        let at = self.below(items.len() as u128);
        usize::try_from(at).ok().and_then(|at| items.get(at))
    }

    /// Puts items into another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            let other = self.below(at as u128 + 1);
            items.swap(at, usize::try_from(other).unwrap_or(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python 3.11 says of `r = random.Random(seed)` and three times `r.randrange(1000)`, then `r.shuffle`.
    #[test]
    fn numbers_of_a_seed_are_pythons() {
        let cases: [(Value, [u128; 3], [u8; 5]); 4] = [
            ("web1.example.org".into(), [301, 887, 871], [4, 1, 2, 3, 5]),
            (Value::Int(0), [864, 394, 776], [5, 3, 2, 1, 4]),
            (Value::Int(-7), [331, 970, 154], [2, 3, 5, 1, 4]),
            (Value::Int(1 << 70), [238, 972, 425], [2, 3, 5, 1, 4]),
        ];
        for (seed, numbers, order) in cases {
            let mut random = Random::seeded(&seed).expect("a seed");
            assert_eq!([0; 3].map(|_: u8| random.below(1000)), numbers, "{seed}");
            let mut items = [1, 2, 3, 4, 5];
            random.shuffle(&mut items);
            assert_eq!(items, order, "{seed}");
        }
    }
}
