//! Files of any size in a store whose values are short: what an application above it looks like.
//!
//! | group | key | value |
//! |---|---|---|
//! | `files` | path | the whole file, if it fits into one value |
//! | `large` | path | its version and how many pieces it has, if it does not |
//! | `pieces` | path, version, number | one piece |
//!
//! A file that fits is one write. A larger one is several batches, three pieces in each: pieces
//! first, and in the last batch, atomically with the last pieces, the entry in `large` that makes
//! them the file. So a reader sees the file before or the file after, whenever the power fails;
//! what a failure can leave behind is pieces that nothing refers to. Values over a quarter segment
//! in the engine itself come in a later version.

use bytes::{Bytes, BytesMut};
use futures::stream::{StreamExt, TryStreamExt, iter};
use logstor::{Db, Group, WriteBatch};

use crate::Outcome;
use crate::tree::SourceFile;

/// Writes or reads under way at the same time.
const AT_ONCE: usize = 16;
/// Pieces of a quarter segment in one batch: with their keys, three are sure to fit.
const PIECES_A_BATCH: usize = 3;

/// A store of files.
pub(crate) struct Files {
    db: Db,
    piece_len: usize,
    whole: Group,
    large: Group,
    pieces: Group,
}

/// The entry of a file that was cut into pieces.
#[derive(Clone, Copy, Default)]
struct Cut {
    version: u64,
    pieces: u64,
}

impl Cut {
    fn encode(self) -> Vec<u8> {
        format!("{} {}", self.version, self.pieces).into_bytes()
    }

    fn parse(text: &[u8]) -> Outcome<Self> {
        let text = str::from_utf8(text)?;
        let (version, pieces) = text.split_once(' ').ok_or("an entry without a space")?;
        Ok(Self { version: version.parse()?, pieces: pieces.parse()? })
    }

    fn key(self, path: &[u8], number: u64) -> Vec<u8> {
        [path, format!("\0{}\0{number}", self.version).as_bytes()].concat()
    }
}

impl Files {
    /// Opens or creates the groups.
    pub(crate) async fn open(db: &Db) -> Outcome<Self> {
        Ok(Self {
            db: db.clone(),
            piece_len: db.limits().value_len,
            whole: db.group("files").await?,
            large: db.group("large").await?,
            pieces: db.group("pieces").await?,
        })
    }

    /// The longest value, in bytes.
    pub(crate) fn piece_len(&self) -> u64 {
        self.piece_len as u64
    }

    /// Whether a file of this content is cut into pieces.
    pub(crate) fn is_cut(&self, content: &Bytes) -> bool {
        content.len() > self.piece_len
    }

    /// How many keys these files take.
    pub(crate) fn keys_of(&self, files: &[SourceFile]) -> u64 {
        let keys = |file: &SourceFile| match file.content.len() {
            len if len > self.piece_len => len.div_ceil(self.piece_len) as u64 + 1,
            _ => 1,
        };
        files.iter().map(keys).sum()
    }

    /// Stores all of them, several at once.
    pub(crate) async fn store_all(&self, files: &[SourceFile]) -> Outcome<()> {
        let stores = files.iter().map(|file| self.store(file));
        iter(stores).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Reads all of them, several at once, and compares them with what they should be.
    pub(crate) async fn compare_all(&self, files: &[SourceFile]) -> Outcome<()> {
        let compares = files.iter().map(|file| self.compare(file));
        iter(compares).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn store(&self, file: &SourceFile) -> Outcome<()> {
        let (path, content) = (&file.path, &file.content);
        let before = self.cut(path).await?;
        if !self.is_cut(content) {
            let mut batch = WriteBatch::new();
            batch.put(&self.whole, path, content.clone()).delete(&self.large, path);
            self.db.write(batch).await?;
            return self.remove_pieces(path, before).await;
        }
        let pieces: Vec<Bytes> = (0..content.len())
            .step_by(self.piece_len)
            .map(|at| content.slice(at..content.len().min(at + self.piece_len)))
            .collect();
        let version = before.map_or(0, |cut| cut.version + 1);
        let cut = Cut { version, pieces: pieces.len() as u64 };
        let mut batch = WriteBatch::new();
        for (number, piece) in (0..).zip(pieces) {
            if batch.len() == PIECES_A_BATCH {
                self.db.write(std::mem::take(&mut batch)).await?;
            }
            batch.put(&self.pieces, cut.key(path, number), piece);
        }
        batch.put(&self.large, path, cut.encode()).delete(&self.whole, path);
        self.db.write(batch).await?;
        self.remove_pieces(path, before).await
    }

    /// The file at `path`.
    pub(crate) async fn load(&self, path: &[u8]) -> Outcome<Option<Bytes>> {
        if let Some(whole) = self.whole.get(path).await? {
            return Ok(Some(whole));
        }
        let Some(cut) = self.cut(path).await? else { return Ok(None) };
        let mut content = BytesMut::new();
        for number in 0..cut.pieces {
            let piece = self.pieces.get(cut.key(path, number)).await?;
            content.extend_from_slice(&piece.ok_or("a piece is missing")?);
        }
        Ok(Some(content.freeze()))
    }

    /// Removes the file at `path`.
    pub(crate) async fn remove(&self, path: &[u8]) -> Outcome<()> {
        let before = self.cut(path).await?;
        let mut batch = WriteBatch::new();
        batch.delete(&self.whole, path).delete(&self.large, path);
        self.db.write(batch).await?;
        self.remove_pieces(path, before).await
    }

    async fn cut(&self, path: &[u8]) -> Outcome<Option<Cut>> {
        self.large.get(path).await?.map(|entry| Cut::parse(&entry)).transpose()
    }

    async fn remove_pieces(&self, path: &[u8], cut: Option<Cut>) -> Outcome<()> {
        let Some(cut) = cut else { return Ok(()) };
        for number in 0..cut.pieces {
            self.pieces.delete(cut.key(path, number)).await?;
        }
        Ok(())
    }

    async fn compare(&self, file: &SourceFile) -> Outcome<()> {
        match self.load(&file.path).await? {
            Some(content) if content == file.content => Ok(()),
            Some(_) => Err(format!("{} came back changed", file.name()).into()),
            None => Err(format!("{} is not there", file.name()).into()),
        }
    }
}
