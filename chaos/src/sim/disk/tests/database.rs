//! The database under the voters' logs and records, on a disk that goes dark again and again.

use std::collections::BTreeMap;
use std::io;

use rand::RngExt as _;
use redb::{Database, Durability, ReadableDatabase as _, ReadableTable as _, StorageBackend, TableDefinition};
use remit_common::net::env::RandomFile;

use super::{disk, path};
use crate::sim::disk::SimDisk;
use crate::sim::entropy::generator;

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("table");

#[derive(Debug)]
struct Backend(Box<dyn RandomFile>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(offset, data)
    }
}

type Rows = BTreeMap<u64, Vec<u8>>;

fn open(disk: &SimDisk) -> Result<Database, redb::Error> {
    let file = disk.process().open_random(&path("database"))?;
    Ok(Database::builder().set_cache_size(1 << 20).create_with_backend(Backend(file))?)
}

fn rows(database: &Database) -> Result<Rows, redb::Error> {
    let transaction = database.begin_read()?;
    let table = transaction.open_table(TABLE)?;
    let mut rows = Rows::new();
    for row in table.iter()? {
        let (key, value) = row?;
        rows.insert(key.value(), value.value().to_vec());
    }
    Ok(rows)
}

/// Commits rows that differ from those before, and says what should be there now.
fn commit(database: &Database, before: &Rows, draws: &mut impl rand::Rng) -> (Rows, Result<(), redb::Error>) {
    let mut after = before.clone();
    for _ in 0..draws.random_range(1..12) {
        let key = draws.random_range(0..60);
        if draws.random_ratio(1, 4) {
            after.remove(&key);
        } else {
            after.insert(key, vec![draws.random(); draws.random_range(1..6000)]);
        }
    }
    let written = || -> Result<(), redb::Error> {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for key in before.keys().filter(|key| !after.contains_key(key)) {
                table.remove(key)?;
            }
            for (key, value) in after.iter().filter(|(key, value)| before.get(key) != Some(value)) {
                table.insert(key, value.as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(())
    };
    let written = written();
    (after, written)
}

#[test]
fn a_database_survives_two_hundred_power_cuts() {
    let (mut commits, mut in_doubt_kept, mut in_doubt_lost, mut reopened_in_vain) = (0, 0, 0, 0);
    for seed in 0..10 {
        let disk = disk(seed);
        let mut draws = generator(seed, "workload");
        let mut certain = Rows::new();
        let database = open(&disk).unwrap();
        let (rows_now, written) = commit(&database, &certain, &mut draws);
        written.unwrap();
        certain = rows_now;
        drop(database);
        // A commit whose answer nobody heard may be there or not.
        let mut in_doubt: Option<Rows> = None;
        for cut in 0..20 {
            disk.crash_after_ops(draws.random_range(0..60));
            let opened = open(&disk).and_then(|database| rows(&database).map(|rows| (database, rows)));
            match opened {
                Ok((database, found)) => {
                    match in_doubt.take() {
                        Some(in_doubt) if found == in_doubt && found != certain => in_doubt_kept += 1,
                        in_doubt => {
                            assert!(
                                found == certain,
                                "seed {seed}, cut {cut}: a committed transaction is lost or half"
                            );
                            in_doubt_lost += u32::from(in_doubt.is_some());
                        }
                    }
                    certain = found;
                    loop {
                        let (after, written) = commit(&database, &certain, &mut draws);
                        if written.is_err() {
                            in_doubt = Some(after);
                            break;
                        }
                        certain = after;
                        commits += 1;
                    }
                }
                Err(error) => {
                    assert!(disk.is_off(), "seed {seed}, cut {cut}: {error}");
                    reopened_in_vain += 1;
                }
            }
            assert!(disk.is_off());
            disk.crash();
        }
        assert_eq!(disk.stats().power_cuts, 20);
    }
    assert!(commits > 200, "{commits}");
    assert!(
        in_doubt_kept > 3 && in_doubt_lost > 20 && reopened_in_vain > 3,
        "{in_doubt_kept} {in_doubt_lost} {reopened_in_vain}"
    );
}

/// Killed with commits unread, then the power goes: the next process reads what no disk has yet, and must not trip.
#[test]
fn a_database_survives_kills_and_a_late_drop() {
    for seed in 0..20 {
        let disk = disk(seed);
        let mut draws = generator(seed, "workload");
        let mut certain = Rows::new();
        let mut ghosts = Vec::new();
        for round in 0..10 {
            let database = open(&disk).unwrap();
            if round > 0 {
                assert!(rows(&database).unwrap() == certain, "seed {seed}, round {round}");
            }
            let (after, written) = commit(&database, &certain, &mut draws);
            written.unwrap();
            certain = after;
            if draws.random() {
                disk.kill()
            } else {
                disk.crash()
            }
            // Dropped when the next process is long at work.
            ghosts.push(database);
            if round % 3 == 2 {
                ghosts.clear();
            }
        }
    }
}
