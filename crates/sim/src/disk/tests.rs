//! What the simulated disk keeps, and what it may lose.

use std::collections::BTreeSet;
use std::io;

use martlet_store::{Access, Disk};

use super::{Crash, Device, SimDisk};

fn device(disk: &SimDisk) -> Device {
    Device::new(disk)
}

/// Tries again what was interrupted.
fn again<T>(mut what: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match what() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn write(disk: &SimDisk, at: usize, bytes: &[u8]) -> io::Result<()> {
    let mut device = device(disk);
    let file = device.open("f", Access::Write)?;
    let mut done = 0;
    while done < bytes.len() {
        done += again(|| device.write_at(&file, &bytes[done..], (at + done) as u64))?;
    }
    Ok(())
}

fn sync(disk: &SimDisk) -> io::Result<()> {
    let mut device = device(disk);
    let file = device.open("f", Access::Write)?;
    device.sync(&file)
}

fn content(disk: &SimDisk) -> Vec<u8> {
    let mut device = device(disk);
    let file = device.open("f", Access::Read).unwrap();
    let length = usize::try_from(device.len(&file).unwrap()).unwrap();
    let mut bytes = vec![0; length];
    let mut done = 0;
    while done < length {
        done += again(|| device.read_at(&file, &mut bytes[done..], done as u64)).unwrap();
    }
    bytes
}

/// A disk with one synced file of 4 KiB of ones.
fn disk_with_ones(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    device(&disk).create("f").unwrap();
    write(&disk, 0, &[1; 4096]).unwrap();
    sync(&disk).unwrap();
    device(&disk).sync_folder("").unwrap();
    disk
}

#[test]
fn what_was_synced_survives_everything() {
    for seed in 0..200 {
        let disk = disk_with_ones(seed);
        disk.crash(Crash::Power);
        assert_eq!(content(&disk), vec![1; 4096]);
        disk.crash(Crash::Kill);
        assert_eq!(content(&disk), vec![1; 4096]);
    }
}

#[test]
fn what_was_written_survives_a_kill_but_a_later_power_cut_may_take_it() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..200 {
        let disk = disk_with_ones(seed);
        write(&disk, 100, &[2; 10]).unwrap();
        disk.crash(Crash::Kill);
        assert_eq!(content(&disk)[100..110], [2; 10]);
        disk.crash(Crash::Power);
        outcomes.insert(content(&disk)[100]);
    }
    assert_eq!(outcomes, BTreeSet::from([1, 2]));
}

#[test]
fn unsynced_sectors_are_lost_kept_reordered_and_torn() {
    let (mut lost, mut kept, mut reordered, mut torn) = (0, 0, 0, 0);
    for seed in 0..1_000 {
        let disk = disk_with_ones(seed);
        write(&disk, 0, &[2; 1024]).unwrap();
        disk.crash(Crash::Power);
        let after = content(&disk);
        assert!(after[1024..].iter().all(|byte| *byte == 1));
        let (first, second) = (&after[..512], &after[512..1024]);
        let all = |sector: &[u8], byte| sector.iter().all(|b| *b == byte);
        lost += u32::from(all(&after[..1024], 1));
        kept += u32::from(all(&after[..1024], 2));
        reordered += u32::from(all(first, 1) && all(second, 2));
        torn += u32::from(
            after[..1024]
                .windows(2)
                .enumerate()
                .any(|(at, pair)| pair == [2, 1] && !(at + 1).is_multiple_of(512)),
        );
    }
    for count in [lost, kept, reordered, torn] {
        assert!(count > 20, "{lost} {kept} {reordered} {torn}");
    }
}

#[test]
fn later_writes_to_a_sector_never_survive_without_the_earlier_ones() {
    for seed in 0..500 {
        let disk = disk_with_ones(seed);
        write(&disk, 0, &[2; 8]).unwrap();
        write(&disk, 8, &[3; 8]).unwrap();
        disk.crash(Crash::Power);
        let after = content(&disk);
        assert!(after[8] != 3 || after[..8] == [2; 8], "{seed}");
    }
}

#[test]
fn names_need_a_sync_of_their_own() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..200 {
        let disk = disk_with_ones(seed);
        device(&disk).create("g").unwrap();
        device(&disk).rename("g", "h").unwrap();
        device(&disk).remove("f").unwrap();
        disk.crash(Crash::Power);
        let mut names = device(&disk).list("").unwrap();
        names.sort_unstable();
        outcomes.insert(names);
    }
    let all: Vec<Vec<String>> = [&["f"][..], &["f", "g"], &["f", "h"], &["h"]]
        .iter()
        .map(|names| names.iter().map(|name| (*name).to_owned()).collect())
        .collect();
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), all);
}

#[test]
fn a_failed_sync_promises_nothing() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..200 {
        let disk = disk_with_ones(seed);
        write(&disk, 0, &[2; 8]).unwrap();
        // `open` is a call as well.
        disk.fail_in(1);
        assert!(sync(&disk).is_err());
        let seen = content(&disk)[0];
        assert!(sync(&disk).is_ok());
        disk.crash(Crash::Power);
        let after = content(&disk)[0];
        assert_eq!(seen, after, "a sync that succeeds keeps what is seen");
        outcomes.insert(after);
    }
    assert_eq!(outcomes, BTreeSet::from([1, 2]));
}

#[test]
fn the_process_ends_in_the_middle_of_a_write() {
    let mut lengths = BTreeSet::new();
    for seed in 0..100 {
        let disk = disk_with_ones(seed);
        let mut program = device(&disk);
        let file = program.open("f", Access::Write).unwrap();
        disk.die_in(0);
        assert!(program.write_at(&file, &[2; 4], 10).is_err());
        assert!(disk.is_dead());
        assert!(program.write_at(&file, &[2; 4], 20).is_err());
        assert!(program.read_at(&file, &mut [0], 0).is_err());
        assert!(program.sync(&file).is_err() && program.sync_folder("").is_err());
        assert!(program.create("g").is_err() && program.remove("f").is_err());
        disk.crash(Crash::Kill);
        let after = content(&disk);
        assert_eq!((after[0], after[20]), (1, 1));
        lengths.insert(
            after[10..14]
                .iter()
                .rposition(|byte| *byte == 2)
                .map_or(0, |at| at + 1),
        );
    }
    assert_eq!(lengths, (0..=4).collect());
}

#[test]
fn a_full_disk_takes_no_new_file_but_what_was_preallocated() {
    let disk = disk_with_ones(1);
    disk.set_full(true);
    let full = |result: io::Result<()>| result.unwrap_err().kind() == io::ErrorKind::StorageFull;
    assert!(full(device(&disk).create("g").map(|_| ())));
    assert!(full(device(&disk).create_folder("d")));
    assert!(full(write(&disk, 4_090, &[0; 10])));
    write(&disk, 4_000, &[0; 10]).unwrap();
    disk.set_full(false);
    device(&disk).create("g").unwrap();
}

#[test]
fn names_are_those_of_their_folder() {
    let disk = disk_with_ones(1);
    let missing = |result: io::Result<()>| result.unwrap_err().kind() == io::ErrorKind::NotFound;
    assert!(missing(device(&disk).list("d").map(|_| ())));
    assert!(missing(device(&disk).create("d/x").map(|_| ())));
    device(&disk).create_folder("d").unwrap();
    device(&disk).create("d/x").unwrap();
    device(&disk).sync_folder("d").unwrap();
    assert_eq!(device(&disk).list("d").unwrap(), ["x"]);
    assert_eq!(device(&disk).list("").unwrap(), ["f"]);
}

#[test]
fn one_program_has_the_lock() {
    let disk = disk_with_ones(1);
    let mut first = device(&disk);
    first.lock().unwrap();
    assert!(device(&disk).lock().is_err());
    assert!(device(&disk.fork()).lock().is_ok());
    drop(first);
    assert!(device(&disk).lock().is_ok());
}

#[test]
fn a_fork_is_a_disk_of_its_own() {
    let disk = disk_with_ones(1);
    let fork = disk.fork();
    write(&fork, 7, &[9]).unwrap();
    assert_eq!(content(&fork)[7], 9);
    assert_eq!(content(&disk), vec![1; 4096]);
}
