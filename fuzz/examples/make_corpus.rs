//! Writes the seeds of the format as it is into `corpus/`; whatever else lies there stays.

use std::path::Path;
use std::{fs, io};

use logstor_fuzz::seeds;

fn main() -> io::Result<()> {
    for target in seeds::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        fs::create_dir_all(&folder)?;
        let seeds = seeds::of(target);
        for seed in &seeds {
            fs::write(folder.join(&seed.name), &seed.bytes)?;
        }
        println!("{target}: {} seeds", seeds.len());
    }
    Ok(())
}
