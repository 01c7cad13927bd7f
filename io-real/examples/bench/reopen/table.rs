//! The figures of openings, as a table and as JSON.

use std::collections::BTreeMap;

use crate::numbers::float;

/// What one opening took.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    records: u64,
    value_len: u64,
    /// What came before it.
    after: &'static str,
    micros: u64,
    /// Processor time of all threads.
    cpu_micros: u64,
    reads: u64,
    read_bytes: u64,
    in_flight: u64,
    peak_bytes: u64,
    index_bytes: u64,
    keys: u64,
    from_dump: bool,
}

/// Bytes of a key.
const KEY: u64 = 8;

impl Opening {
    /// What a child said of an opening; `None` if that is not what it said, or keys are missing.
    pub(crate) fn parse(
        said: &str,
        (records, value_len): (u64, u64),
        after: &'static str,
    ) -> Option<Self> {
        let numbers: Result<Vec<u64>, _> = said.split_whitespace().map(str::parse).collect();
        let [
            micros,
            cpu_micros,
            reads,
            read_bytes,
            in_flight,
            peak_bytes,
            index_bytes,
            keys,
            from_dump,
        ] = numbers.ok()?.try_into().ok()?;
        let (from_dump, of) = (from_dump == 1, (records, value_len));
        (keys == of.0).then_some(Self {
            records,
            value_len,
            after,
            micros,
            cpu_micros,
            reads,
            read_bytes,
            in_flight,
            peak_bytes,
            index_bytes,
            keys,
            from_dump,
        })
    }

    fn seconds(&self) -> f64 {
        float(self.micros) / 1e6
    }

    fn cells(&self) -> [String; 11] {
        let data = self.records * (KEY + self.value_len);
        let mib = |bytes: u64| format!("{:.1}", float(bytes) / f64::from(1 << 20));
        [
            format!("{} x {} B, after {}", self.records, self.value_len, self.after),
            if self.from_dump { "dump".into() } else { "segments".into() },
            format!("{:.3}", self.seconds()),
            format!("{:.3}", float(self.cpu_micros) / 1e6),
            format!("{:.2}", float(self.keys) / self.seconds() / 1e6),
            format!("{}", self.reads),
            mib(self.read_bytes),
            format!("{:.1}", 100.0 * float(self.read_bytes) / float(data)),
            format!("{}", self.in_flight),
            mib(self.peak_bytes),
            mib(self.index_bytes),
        ]
    }

    /// One object.
    pub(crate) fn json(&self) -> String {
        format!(
            "{{\"records\":{},\"value_len\":{},\"after\":\"{}\",\"from_dump\":{},\"seconds\":{:.6},\
             \"cpu_seconds\":{:.6},\"reads\":{},\"read_bytes\":{},\"in_flight\":{},\
             \"peak_bytes\":{},\"index_bytes\":{}}}",
            self.records,
            self.value_len,
            self.after,
            self.from_dump,
            self.seconds(),
            float(self.cpu_micros) / 1e6,
            self.reads,
            self.read_bytes,
            self.in_flight,
            self.peak_bytes,
            self.index_bytes,
        )
    }

    /// The line for whoever watches.
    pub(crate) fn line(&self) -> String {
        format!("reopen {:<36} {:>8.3} s", self.cells()[0], self.seconds())
    }
}

const HEADINGS: [&str; 11] = [
    "reopen",
    "from",
    "seconds",
    "CPU s",
    "M keys/s",
    "reads",
    "MiB read",
    "% of data",
    "in flight",
    "peak MiB",
    "index MiB",
];

/// Rows of the table: of several openings of one kind that of median length.
pub(crate) fn rows(openings: &[Opening]) -> Vec<[String; 11]> {
    let mut kinds = BTreeMap::<(u64, u64, &str), Vec<&Opening>>::new();
    for one in openings {
        kinds.entry((one.value_len, one.records, one.after)).or_default().push(one);
    }
    let median = |mut ones: Vec<&Opening>| {
        ones.sort_by_key(|one| one.micros);
        ones[ones.len() / 2].cells()
    };
    let headings = HEADINGS.map(String::from);
    [headings].into_iter().chain(kinds.into_values().map(median)).collect()
}
