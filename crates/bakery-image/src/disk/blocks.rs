//! The digests of a disk's blocks: what somebody needs who uploads an image after another, and ships only what is
//! different. Blocks are those of EBS, and so is the digest (`PutSnapshotBlock` takes SHA-256).
//!
//! Blocks that the file has no data for are left out; blocks of zeros that were written are not: what was never written
//! may read as anything elsewhere.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use bakery_host::fs;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::io;
use crate::Result;
use crate::digest::hex;

/// Bytes of a block.
pub(crate) const BLOCK: u64 = 512 * 1024;
/// The file in an image's folder.
pub(crate) const FILE: &str = "blocks.json";

/// The digests of a disk, in hexadecimal digits, by the block's number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Blocks {
    pub(crate) block_size: u64,
    pub(crate) sha256: BTreeMap<u64, String>,
}

impl Blocks {
    /// Reads a raw disk.
    pub(crate) fn of(raw: &Path) -> Result<Self> {
        let mut numbers = std::collections::BTreeSet::new();
        for (start, length) in fs::data_of(raw)? {
            numbers.extend(start / BLOCK..(start + length).div_ceil(BLOCK));
        }
        let numbers: Vec<u64> = numbers.into_iter().collect();
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let share = numbers.len().div_ceil(threads).max(1);
        let parts = std::thread::scope(|scope| {
            let started: Vec<_> =
                numbers.chunks(share).map(|part| scope.spawn(move || digests(raw, part))).collect();
            started
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Ok(vec![])))
                .collect::<Result<Vec<_>>>()
        })?;
        Ok(Self { block_size: BLOCK, sha256: parts.into_iter().flatten().collect() })
    }

    /// Those that an image's folder has; none of images that are no disks.
    pub(crate) fn kept(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder.join(FILE)).ok()?).ok()
    }

    /// How many blocks are not as in another disk: to write, or to make empty.
    pub(crate) fn different_from(&self, other: &Self) -> usize {
        let numbers: std::collections::BTreeSet<&u64> =
            self.sha256.keys().chain(other.sha256.keys()).collect();
        numbers.into_iter().filter(|number| self.sha256.get(number) != other.sha256.get(number)).count()
    }
}

fn digests(raw: &Path, numbers: &[u64]) -> Result<Vec<(u64, String)>> {
    let mut file = fs::open(raw)?;
    let mut block = vec![0; BLOCK as usize];
    let mut out = Vec::with_capacity(numbers.len());
    for number in numbers {
        file.seek(SeekFrom::Start(number * BLOCK)).map_err(io(raw))?;
        let (mut read, mut digest) = (0, Sha256::new());
        while read < block.len() {
            match file.read(&mut block[read..]).map_err(io(raw))? {
                0 => break,
                more => read += more,
            }
        }
        // The last block is filled up.
        block[read..].fill(0);
        digest.update(&block);
        out.push((*number, hex(&digest.finalize())));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn blocks_with_data_have_digests() {
        let folder = tempfile::tempdir().expect("a folder");
        let raw = folder.path().join("disk");
        let mut file = fs::create(&raw).expect("made");
        file.set_len(10 * BLOCK + 100).expect("grown");
        let mut put = |at: u64, bytes: &[u8]| {
            file.seek(SeekFrom::Start(at)).expect("there");
            file.write_all(bytes).expect("written");
        };
        put(3 * BLOCK - 1, b"ab");
        put(7 * BLOCK, &[0; 4096]);
        put(10 * BLOCK, b"end");
        let one = Blocks::of(&raw).expect("read");
        assert_eq!(one.sha256.keys().copied().collect::<Vec<_>>(), [2, 3, 7, 10]);
        let zeros = hex(&Sha256::digest(vec![0; BLOCK as usize]));
        assert_eq!(one.sha256[&7], zeros);
        put(3 * BLOCK, b"c");
        put(5 * BLOCK, b"new");
        let other = Blocks::of(&raw).expect("read");
        assert_eq!(other.different_from(&one), 2);
        assert_eq!(one.different_from(&one), 0);
    }
}
