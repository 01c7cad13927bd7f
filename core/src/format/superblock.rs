//! The superblock: which store this is, and how it is cut. Written once, read first.
//!
//! Magic and version lie where they lie for ever, and are looked at before anything else: a newer
//! format may lay out all other bytes differently, its CRC included, and is refused by name
//! rather than as damage.

use std::fmt;

use thiserror::Error;

use crate::format::crc;
use crate::format::geometry::{BadGeometry, Geometry};
use crate::format::{field, is_zero, put};
use crate::io::IoBuf;
use crate::types::{BLOCK, to_usize};

/// The format that this code reads and writes.
pub const FORMAT_VERSION: u32 = 2;

/// The oldest format that this code reads. Records of format 1, which no release wrote, did not say
/// where they lie.
const OLDEST: u32 = 2;

const MAGIC: [u8; 8] = *b"logstor\n";
const USED: usize = 56;

/// The identity of a store, drawn at creation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId([u8; 16]);

impl StoreId {
    /// The store with this identity.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// All of it.
    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// The first eight bytes, as every other structure carries them.
    #[must_use]
    pub fn short(self) -> u64 {
        u64::from_le_bytes(field::<0, 8, _>(&self.0))
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "StoreId({self})")
    }
}

/// Why these bytes are no superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotASuperblock {
    /// The file is not one block long.
    #[error("{found} bytes long instead of {BLOCK}")]
    Length {
        /// Bytes in the file.
        found: usize,
    },
    /// Something else lies here.
    #[error("begins with {found:02x?}, which is not a logstor store")]
    Magic {
        /// The first eight bytes.
        found: [u8; 8],
    },
    /// The store was made by a newer version of this library.
    #[error("format {found} is newer than format {supported}, the newest known here")]
    NewerVersion {
        /// The format of the store.
        found: u32,
        /// The newest format that this code can read.
        supported: u32,
    },
    /// The store was made by an older version of this library.
    #[error("format {found} is older than format {oldest}, the oldest that is still read")]
    OlderVersion {
        /// The format of the store.
        found: u32,
        /// The oldest format that this code can read.
        oldest: u32,
    },
    /// The bytes were damaged.
    #[error("crc {stored:#010x}, computed {computed:#010x}")]
    Crc {
        /// As it lies there.
        stored: u32,
        /// As it should be.
        computed: u32,
    },
    /// A format that never was, under a good CRC.
    #[error("format {found} never was")]
    Version {
        /// The format of the store.
        found: u32,
    },
    /// Something lies where this format has only zeros.
    #[error("unused bytes are not zero")]
    Reserved,
    /// The cut of the store is impossible.
    #[error("impossible geometry")]
    Geometry(#[from] BadGeometry),
}

/// What a store is.
///
/// | at | len  | field             | meaning                                              |
/// |---:|-----:|-------------------|------------------------------------------------------|
/// |  0 |    8 | magic             | `"logstor\n"`, in every format                       |
/// |  8 |    4 | version           | [`FORMAT_VERSION`]; at this place in every format    |
/// | 12 |    4 | crc               | CRC-32C of bytes 0..12 and 16..4096                  |
/// | 16 |   16 | store             | identity of the store                                |
/// | 32 |    4 | segment_len       | bytes in a segment                                   |
/// | 36 |    4 | segments_per_file | segments in a file                                   |
/// | 40 |   16 | secret            | key of the key hash                                  |
/// | 56 | 4040 | reserved          | zero                                                 |
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// Which store.
    pub store: StoreId,
    /// How it is cut.
    pub geometry: Geometry,
    /// The key of its key hash.
    pub secret: [u8; 16],
}

impl Superblock {
    /// Bytes on disk: one block.
    pub const LEN: usize = to_usize(BLOCK);

    /// The block to write.
    #[must_use]
    pub fn encode(&self) -> IoBuf {
        let mut raw = [0; Self::LEN];
        put::<0, 8, _>(&mut raw, MAGIC);
        put::<8, 4, _>(&mut raw, FORMAT_VERSION.to_le_bytes());
        put::<16, 16, _>(&mut raw, self.store.0);
        put::<32, 4, _>(&mut raw, self.geometry.segment_len().get().to_le_bytes());
        put::<36, 4, _>(&mut raw, self.geometry.segments_per_file().to_le_bytes());
        put::<40, 16, _>(&mut raw, self.secret);
        let crc = Self::crc(&raw);
        put::<12, 4, _>(&mut raw, crc.to_le_bytes());
        IoBuf::copy_of(&raw)
    }

    /// The only way from bytes to a superblock. `bytes` is the whole file.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotASuperblock> {
        let raw: &[u8; Self::LEN] =
            bytes.try_into().map_err(|_| NotASuperblock::Length { found: bytes.len() })?;
        let magic = field::<0, 8, _>(raw);
        let version = u32::from_le_bytes(field::<8, 4, _>(raw));
        let stored = u32::from_le_bytes(field::<12, 4, _>(raw));
        let store = StoreId(field::<16, 16, _>(raw));
        let segment_len = u32::from_le_bytes(field::<32, 4, _>(raw));
        let segments_per_file = u32::from_le_bytes(field::<36, 4, _>(raw));
        let secret = field::<40, 16, _>(raw);

        if magic != MAGIC {
            return Err(NotASuperblock::Magic { found: magic });
        }
        if version > FORMAT_VERSION {
            let supported = FORMAT_VERSION;
            return Err(NotASuperblock::NewerVersion { found: version, supported });
        }
        let computed = Self::crc(raw);
        if stored != computed {
            return Err(NotASuperblock::Crc { stored, computed });
        }
        if version == 0 {
            return Err(NotASuperblock::Version { found: version });
        }
        if version < OLDEST {
            return Err(NotASuperblock::OlderVersion { found: version, oldest: OLDEST });
        }
        if !is_zero(&raw[USED..]) {
            return Err(NotASuperblock::Reserved);
        }
        let geometry = Geometry::new(segment_len, segments_per_file)?;
        Ok(Self { store, geometry, secret })
    }

    fn crc(raw: &[u8; Self::LEN]) -> u32 {
        crc::of(&[&raw[..12], &raw[16..]])
    }
}

impl fmt::Debug for Superblock {
    /// Without the secret.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Superblock")
            .field("store", &self.store)
            .field("geometry", &self.geometry)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::samples;
    use proptest::prelude::*;

    fn superblock() -> impl Strategy<Value = Superblock> {
        (any::<[u8; 16]>(), samples::geometry(), any::<[u8; 16]>()).prop_map(
            |(store, geometry, secret)| Superblock { store: StoreId(store), geometry, secret },
        )
    }

    fn check(what: &str, damage: impl FnOnce(&mut [u8]), expected: NotASuperblock) {
        let geometry = Geometry::new(256 << 10, 64).unwrap();
        let mut raw =
            Superblock { store: StoreId([1; 16]), geometry, secret: [2; 16] }.encode().to_vec();
        damage(&mut raw);
        assert_eq!(Superblock::parse(&raw), Err(expected), "{what}");
    }

    /// Puts the CRC right again after a change.
    fn resign(raw: &mut [u8]) {
        let crc = Superblock::crc((&*raw).try_into().unwrap());
        raw[12..16].copy_from_slice(&crc.to_le_bytes());
    }

    #[test]
    fn a_damaged_superblock_is_refused_for_the_right_reason() {
        use NotASuperblock::{
            Geometry as Cut, Magic, NewerVersion, OlderVersion, Reserved, Version,
        };
        check("zeros", |raw| raw.fill(0), Magic { found: [0; 8] });
        check("other file", |raw| raw[0] = b'L', Magic { found: *b"Logstor\n" });
        let newer = NewerVersion { found: 3, supported: 2 };
        check("newer, laid out otherwise", |raw| raw[8..].fill(3), {
            NewerVersion { found: 0x0303_0303, supported: 2 }
        });
        let to_version = |version| {
            move |raw: &mut [u8]| {
                raw[8] = version;
                resign(raw);
            }
        };
        check("newer", to_version(3), newer);
        check("older", to_version(1), OlderVersion { found: 1, oldest: 2 });
        check("format zero", to_version(0), Version { found: 0 });
        let unused = |raw: &mut [u8]| {
            raw[4000] = 1;
            resign(raw);
        };
        check("unused byte", unused, Reserved);
        let cut = |raw: &mut [u8]| {
            raw[32..36].copy_from_slice(&12_345_u32.to_le_bytes());
            resign(raw);
        };
        check("geometry", cut, Cut(BadGeometry::SegmentLen { found: 12_345 }));
    }

    #[test]
    fn a_superblock_of_another_length_is_refused() {
        for found in [0, 1, 4095, 4097, 8192] {
            let expected = Err(NotASuperblock::Length { found });
            assert_eq!(Superblock::parse(&vec![0; found]), expected);
        }
    }

    proptest! {
        #[test]
        fn a_superblock_is_read_back_as_written(superblock in superblock()) {
            let raw = superblock.encode();
            prop_assert_eq!(Superblock::parse(&raw), Ok(superblock));
            prop_assert_eq!(superblock.store.short().to_le_bytes(), &raw[16..24]);
        }

        #[test]
        fn a_superblock_with_one_bit_flipped_is_refused(
            superblock in superblock(),
            bit in 0..Superblock::LEN * 8,
        ) {
            let mut raw = superblock.encode();
            raw[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Superblock::parse(&raw).is_err());
        }

        #[test]
        fn any_bytes_give_an_answer(raw in samples::noise(5000)) {
            prop_assert!(Superblock::parse(&raw).is_err());
        }
    }
}
