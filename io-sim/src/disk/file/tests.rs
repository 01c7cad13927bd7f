//! One file by itself: what is read, what a sync covers, what a crash leaves, who holds room.

use super::super::crash::SectorBias;
use super::*;
use crate::rng::SimRng;

const SECTOR: u32 = 512;

fn write(file: &mut FileBody, seq: u64, at: u64, byte: u8) {
    let landing = Landing { at, bytes: &[byte; 1024], live: None, tainted: false };
    file.land(seq, SECTOR, landing);
}

fn bytes(file: &FileBody) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.len()).unwrap()];
    file.read(0, &mut bytes).unwrap();
    bytes.chunks(to_usize(SECTOR)).map(|sector| sector[0]).collect()
}

fn after_cut(file: &FileBody, bias: SectorBias) -> Vec<u8> {
    let mut rng = SimRng::new(1, "test");
    let mut file = file.clone();
    let mut decider = Decider::new(&mut rng, bias, file.undecided().collect());
    file.cut_power(&mut decider);
    assert!(file.is_clean());
    bytes(&file)
}

#[test]
fn a_sync_covers_what_completed_before_it_began() {
    let mut file = FileBody::default();
    write(&mut file, 1, 0, 1);
    write(&mut file, 2, 0, 2);
    file.sync(1);
    assert_eq!(bytes(&file), [2, 2]);
    assert_eq!(after_cut(&file, SectorBias::None), [1, 1]);
    assert_eq!(after_cut(&file, SectorBias::All), [2, 2]);
    assert_eq!(after_cut(&file, SectorBias::OnlyFirst), [2, 1]);
    assert_eq!(after_cut(&file, SectorBias::AllButFirst), [1, 2]);
}

#[test]
fn a_tainted_write_never_becomes_durable_by_a_sync() {
    let mut file = FileBody::default();
    write(&mut file, 1, 0, 1);
    file.sync(1);
    write(&mut file, 2, 0, 2);
    file.taint();
    file.sync(2);
    assert_eq!(bytes(&file), [2, 2]);
    assert_eq!(after_cut(&file, SectorBias::None), [1, 1]);
    // A fresh write to the second sector hides the tainted one there, and only there.
    write(&mut file, 3, 512, 3);
    file.sync(3);
    assert_eq!(after_cut(&file, SectorBias::None), [1, 3, 3]);
    assert_eq!(after_cut(&file, SectorBias::All), [2, 3, 3]);
}

#[test]
fn dropped_data_is_gone_at_once() {
    let mut file = FileBody::default();
    write(&mut file, 1, 0, 1);
    file.sync(1);
    write(&mut file, 2, 512, 2);
    file.drop_unsynced();
    assert_eq!(bytes(&file), [1, 1, 0]);
    file.sync(2);
    assert_eq!(after_cut(&file, SectorBias::None), [1, 1]);
    write(&mut file, 3, 0, 3);
    file.sync(3);
    assert_eq!(after_cut(&file, SectorBias::None), [3, 3]);
}

#[test]
fn a_length_is_durable_with_the_sync_and_not_before() {
    let mut file = FileBody::default();
    file.preallocate(1, SECTOR, 2048);
    assert_eq!(bytes(&file), [0; 4]);
    assert_eq!(after_cut(&file, SectorBias::None), []);
    assert_eq!(after_cut(&file, SectorBias::All), [0; 4]);
    file.sync(1);
    assert_eq!(after_cut(&file, SectorBias::None), [0; 4]);
}

#[test]
fn a_file_that_shrank_and_grew_reads_as_zeros() {
    let mut file = FileBody::default();
    write(&mut file, 1, 0, 1);
    file.preallocate(2, SECTOR, 700);
    file.preallocate(3, SECTOR, 1024);
    let mut content = [9; 1024];
    file.read(0, &mut content).unwrap();
    assert!(content[..700].iter().all(|&byte| byte == 1));
    assert!(content[700..].iter().all(|&byte| byte == 0));
    assert!(file.read(512, &mut content).is_err());
}

#[test]
fn a_tainted_length_cannot_cut_what_was_synced_later() {
    let mut file = FileBody::default();
    write(&mut file, 1, 0, 1);
    file.sync(1);
    file.preallocate(2, SECTOR, 512);
    file.taint();
    write(&mut file, 3, 512, 3);
    file.sync(3);
    for bias in SectorBias::EVERY {
        assert_eq!(after_cut(&file, bias)[1..], [3, 3], "{bias:?}");
    }
}

#[test]
fn what_a_crash_left_behind_the_end_is_zero_when_the_file_grows_again() {
    for bias in SectorBias::EVERY {
        for seed in 0..20 {
            let mut file = FileBody::default();
            write(&mut file, 1, 0, 1);
            let mut rng = SimRng::new(seed, "test");
            let undecided = file.undecided().collect();
            file.cut_power(&mut Decider::new(&mut rng, bias, undecided));
            let len = bytes(&file).len();
            file.preallocate(2, SECTOR, 2048);
            assert!(bytes(&file)[len..].iter().all(|&byte| byte == 0), "{bias:?}");
        }
    }
}

const UNIT: u64 = 4096;

fn arrival(range: Range<u64>) -> Arrival {
    Arrival { range, live: None, tainted: false }
}

/// Four blocks of ones, durable.
fn four_blocks() -> FileBody {
    let mut file = FileBody::default();
    file.land(1, SECTOR, Landing { at: 0, bytes: &[1; 16384], live: None, tainted: false });
    file.sync(1);
    file
}

/// What it holds after a cut, and whether any byte of blocks 1 and 2 is left.
fn after_cut_of(file: &FileBody, bias: SectorBias) -> (u64, bool) {
    let mut rng = SimRng::new(1, "test");
    let mut file = file.clone();
    let mut decider = Decider::new(&mut rng, bias, file.undecided().collect());
    file.cut_power(&mut decider);
    let mut middle = vec![0; 8192];
    file.read(UNIT, &mut middle).unwrap();
    (file.held(), middle.contains(&1))
}

#[test]
fn a_punch_frees_room_at_once_and_durably_with_the_sync() {
    let mut file = four_blocks();
    file.punch(2, SECTOR, arrival(UNIT..3 * UNIT));
    assert_eq!((file.held(), file.len()), (2 * UNIT, 4 * UNIT));
    assert_eq!(file.needs(&(0..4 * UNIT)), 2 * UNIT);
    assert_eq!(after_cut_of(&file, SectorBias::None), (4 * UNIT, true));
    assert_eq!(after_cut_of(&file, SectorBias::All), (2 * UNIT, false));
    // The first sector of one block only, or all but it.
    assert_eq!(after_cut_of(&file, SectorBias::OnlyFirst), (4 * UNIT, true));
    assert_eq!(after_cut_of(&file, SectorBias::AllButFirst), (3 * UNIT, true));
    file.sync(2);
    for bias in SectorBias::EVERY {
        assert_eq!(after_cut_of(&file, bias), (2 * UNIT, false), "{bias:?}");
    }
}

#[test]
fn a_write_into_a_hole_takes_room_for_whole_blocks() {
    let mut file = four_blocks();
    file.punch(2, SECTOR, arrival(UNIT..3 * UNIT));
    file.sync(2);
    write(&mut file, 3, UNIT + 1024, 3);
    assert_eq!(file.held(), 3 * UNIT);
    assert_eq!(after_cut_of(&file, SectorBias::None).0, 2 * UNIT);
    assert_eq!(after_cut_of(&file, SectorBias::OnlyLast).0, 3 * UNIT);
}

#[test]
fn reserved_room_survives_once_synced_and_hides_nothing() {
    let mut file = four_blocks();
    file.punch(2, SECTOR, arrival(UNIT..3 * UNIT));
    file.sync(2);
    file.reserve(3, SECTOR, arrival(UNIT..3 * UNIT));
    assert_eq!(file.held(), 4 * UNIT);
    assert_eq!(after_cut_of(&file, SectorBias::None), (2 * UNIT, false));
    file.sync(3);
    assert_eq!(after_cut_of(&file, SectorBias::None), (4 * UNIT, false));

    // What was written before and never durable may still come.
    let mut file = four_blocks();
    file.punch(2, SECTOR, arrival(UNIT..3 * UNIT));
    file.sync(2);
    write(&mut file, 3, UNIT, 1);
    file.taint();
    file.reserve(4, SECTOR, arrival(UNIT..3 * UNIT));
    file.sync(4);
    assert_eq!(after_cut_of(&file, SectorBias::None), (4 * UNIT, false));
    assert_eq!(after_cut_of(&file, SectorBias::All), (4 * UNIT, true));
}

#[test]
fn a_tainted_punch_may_leave_zeros_and_never_takes_room_that_was_synced_later() {
    let mut file = four_blocks();
    file.punch(2, SECTOR, arrival(UNIT..3 * UNIT));
    file.taint();
    file.reserve(3, SECTOR, arrival(UNIT..3 * UNIT));
    file.sync(3);
    assert_eq!(after_cut_of(&file, SectorBias::All), (4 * UNIT, false));
    assert_eq!(after_cut_of(&file, SectorBias::None), (4 * UNIT, true));
}

#[test]
fn a_punch_and_a_reservation_make_no_length_durable() {
    for reserves in [false, true] {
        let mut file = four_blocks();
        file.preallocate(2, SECTOR, 6 * UNIT);
        file.taint();
        let last = arrival(5 * UNIT..6 * UNIT);
        if reserves {
            file.reserve(3, SECTOR, last);
        } else {
            file.punch(3, SECTOR, last);
        }
        file.sync(3);
        assert_eq!(file.held(), if reserves { 6 * UNIT } else { 5 * UNIT });
        assert_eq!(after_cut_of(&file, SectorBias::None), (4 * UNIT, true));
    }
}

#[test]
fn a_dropped_punch_has_its_room_and_its_bytes_again() {
    let mut file = four_blocks();
    file.punch(2, SECTOR, arrival(UNIT..3 * UNIT));
    file.drop_unsynced();
    assert_eq!(file.held(), 4 * UNIT);
    assert_eq!(after_cut_of(&file, SectorBias::All), (4 * UNIT, true));
}

#[test]
fn a_preallocation_reserves_the_holes_with_its_length() {
    let mut file = four_blocks();
    file.punch(2, SECTOR, arrival(UNIT..3 * UNIT));
    file.sync(2);
    file.preallocate(3, SECTOR, 6 * UNIT);
    assert_eq!(file.held(), 6 * UNIT);
    assert_eq!(after_cut_of(&file, SectorBias::None), (2 * UNIT, false));
    assert_eq!(after_cut_of(&file, SectorBias::All), (6 * UNIT, false));
}

#[test]
fn a_shrunk_file_has_either_length_after_a_cut_and_the_new_one_after_a_sync() {
    let cut = |file: &FileBody, bias| {
        let mut rng = SimRng::new(1, "test");
        let mut file = file.clone();
        let undecided = file.undecided().collect();
        file.cut_power(&mut Decider::new(&mut rng, bias, undecided));
        (file.len(), file.held())
    };
    let mut file = four_blocks();
    file.punch(2, SECTOR, arrival(0..2 * UNIT));
    file.sync(2);
    file.shrink(3, SECTOR, 5 * UNIT);
    assert_eq!((file.len(), file.is_clean()), (4 * UNIT, true), "never longer");
    file.shrink(4, SECTOR, UNIT);
    assert_eq!((file.len(), file.held()), (UNIT, 0));
    assert_eq!(cut(&file, SectorBias::None), (4 * UNIT, 2 * UNIT));
    assert_eq!(cut(&file, SectorBias::All), (UNIT, 0));
    file.sync(4);
    assert_eq!(cut(&file, SectorBias::None), (UNIT, 0));
}

/// Law 8, and that nothing is held twice or less than nothing.
fn assert_holes(file: &FileBody) {
    for (pages, len, holes) in [
        (&file.current, file.len, &file.holes),
        (&file.durable, file.durable_len, &file.durable_holes),
    ] {
        let mut inside = holes.clone();
        inside.cut_off(len);
        assert_eq!(&inside, holes);
        for block in 0..len / UNIT {
            let range = block * UNIT..(block + 1) * UNIT;
            let mut bytes = [0; 4096];
            pages.read(range.start, &mut bytes);
            assert!(holes.touched(&range) == 0 || bytes == [0; 4096], "block {block}");
        }
    }
}

#[test]
fn holes_lie_within_the_file_and_read_as_zeros_whatever_happens() {
    let mut cuts_with_holes = 0;
    for seed in 0..300 {
        let mut rng = SimRng::new(seed, "holes");
        let mut file = FileBody::default();
        for seq in 1..60 {
            let start = rng.below(12);
            let range = start * UNIT..(start + 1 + rng.below(4)) * UNIT;
            let sectors = usize::try_from((range.end - range.start) / 512).unwrap();
            let live = rng.chance(1, 3).then(|| (0..sectors).map(|_| rng.coin()).collect());
            let tainted = rng.chance(1, 6);
            match rng.below(12) {
                0..3 => {
                    let bytes = vec![1; sectors * 512];
                    let at = range.start;
                    file.land(seq, SECTOR, Landing { at, bytes: &bytes, live, tainted });
                }
                3..6 if range.end <= file.len() => {
                    file.punch(seq, SECTOR, Arrival { range, live, tainted });
                }
                6 => file.reserve(seq, SECTOR, Arrival { range, live, tainted }),
                7 => file.preallocate(seq, SECTOR, range.end),
                8 => file.shrink(seq, SECTOR, range.start + rng.below(8) * 512),
                9 => file.sync(seq - rng.below(3).min(seq)),
                10 if rng.coin() => file.taint(),
                10 => file.drop_unsynced(),
                11 if rng.coin() => {
                    let bias = *rng.pick(&SectorBias::EVERY);
                    let undecided = file.undecided().collect();
                    file.cut_power(&mut Decider::new(&mut rng, bias, undecided));
                    cuts_with_holes += u32::from(file.held() < file.len());
                }
                _ => {}
            }
            assert_holes(&file);
        }
    }
    assert!(cuts_with_holes > 100, "{cuts_with_holes}");
}
