//! On objects in memory.

use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;

use super::lease::{Claim, Lease};
use super::*;
use crate::base::{Content, ListedFile, Pulse, Stopwatch, read, write_atomic};

const QUICK: Pulse = Pulse { beat: Duration::from_millis(20), patience: Duration::from_millis(400) };

fn store(objects: &Arc<InMemory>) -> Store {
    let address = Address { service: Service::S3, bucket: "runs".into(), prefix: "some/run".into() };
    Store::over(objects.clone(), &address, &Settings::default()).expect("a runtime")
}

fn taken(claim: &mut Claim) -> Option<Lease> {
    claim.try_take().expect("an answer")
}

#[test]
fn a_lease_is_held_by_one_given_back_and_kept_by_its_beats() {
    let store = Arc::new(store(&Arc::default()));
    let claim = || Claim::new(&store, ".run.lease", QUICK);
    let (mut one, mut other) = (claim(), claim());
    let lease = taken(&mut one).expect("free");
    let watch = Stopwatch::start();
    while watch.elapsed() < 2 * QUICK.patience {
        assert!(taken(&mut other).is_none() && taken(&mut one).is_none());
        std::thread::sleep(QUICK.beat);
    }
    drop(lease);
    drop(taken(&mut other).expect("given back"));
    drop(taken(&mut claim()).expect("given back again"));
}

#[test]
fn a_silent_holder_of_another_machine_is_replaced_by_one_of_those_that_wait() {
    let store = Arc::new(store(&Arc::default()));
    let silent = br#"{"holder":"x","beat":7,"machine":"elsewhere","process":1,"start":""}"#;
    store.create("lease", silent).expect("an answer").expect("new");
    let mut claims = [0, 1].map(|_: usize| Claim::new(&store, "lease", QUICK));
    let watch = Stopwatch::start();
    let leases = loop {
        let leases: Vec<Lease> = claims.iter_mut().filter_map(taken).collect();
        if !leases.is_empty() {
            break leases;
        }
        assert!(watch.seconds() < 20.0, "taken over in the end");
        std::thread::sleep(QUICK.beat);
    };
    assert!(watch.elapsed() >= QUICK.patience, "not before it was watched");
    assert_eq!(leases.len(), 1);
}

#[test]
fn the_first_writer_wins_and_a_version_is_replaced_once() {
    let store = store(&Arc::default());
    let first = store.create("answer", b"one").expect("an answer").expect("new");
    assert!(store.create("answer", b"two").expect("an answer").is_none());
    assert!(store.create("answer", b"one").expect("an answer").is_some(), "as after a lost answer");
    assert!(store.replace("answer", b"three", &first).expect("an answer").is_some());
    assert!(store.replace("answer", b"four", &first).expect("an answer").is_none());
    assert_eq!(store.read("answer").expect("an answer").expect("there").bytes, b"three");
    assert!(store.read("other").expect("an answer").is_none());
}

/// A file of the run, and its content.
const FILE: (&str, &[u8]) = ("records/hook/a b%c.jsonl", b"{\"feature\":3}\n");

#[test]
fn files_go_there_and_come_back_and_changed_ones_are_refused() {
    let objects: Arc<InMemory> = Arc::default();
    let [here, there] = [0, 1].map(|_: usize| tempfile::tempdir().expect("a folder"));
    let own = Mirror::over(store(&objects), here.path(), u64::MAX);
    let other = Mirror::over(store(&objects), there.path(), u64::MAX);
    write_atomic(&here.path().join(FILE.0), FILE.1).expect("written");
    own.push_file(&here.path().join(FILE.0)).expect("sent");
    let listed = ListedFile { path: FILE.0.into(), content: Content::of(FILE.1) };
    assert_eq!(store(&objects).list().expect("listed"), [(FILE.0.into(), FILE.1.len() as u64)]);
    assert_eq!(store(&objects).content(FILE.0).expect("an answer"), Some(listed.content));
    let outside = ListedFile { path: "../x".into(), ..listed.clone() };
    other.bring_listed(&[listed.clone(), outside]).expect("brought");
    assert_eq!(read(&there.path().join(FILE.0)).expect("read"), FILE.1);
    // The list knows better than the object what it should hold.
    let wrong = ListedFile { content: Content::of(b"{\"feature\":4}\n"), ..listed.clone() };
    let refused = other.bring_listed(&[wrong]).expect_err("another content");
    assert!(refused.source.to_string().contains("its digest differs"), "{refused:?}");
    assert_eq!(read(&there.path().join(FILE.0)).expect("read"), FILE.1, "the former file stays");
    // Without a list, what is here is compared with what lies there.
    write_atomic(&there.path().join(FILE.0), b"another").expect("written");
    assert_eq!(other.bring_all(|_| true).expect("brought"), 1);
    listed.check(there.path()).expect("as it was sent");
    other.retract(&there.path().join(FILE.0)).expect("removed");
    assert!(!other.bring(&there.path().join(FILE.0), true).expect("an answer"), "it is gone");
}

#[test]
fn files_in_parts_come_back_whole_and_the_scratch_has_a_limit() {
    let objects: Arc<InMemory> = Arc::default();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("large");
    let bytes: Vec<u8> = (0..40_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    write_atomic(&path, &bytes).expect("written");
    Mirror::over(store(&objects), folder.path(), u64::MAX).push_file(&path).expect("sent");
    std::fs::remove_file(&path).expect("removed");
    let listed = ListedFile { path: "large".into(), content: Content::of(&bytes) };
    let small = Mirror::over(store(&objects), folder.path(), 39_000_000);
    let full = small.bring_listed(std::slice::from_ref(&listed)).expect_err("too large");
    assert!(full.is_write() && full.source.to_string().contains("`limits.disk_gb`"), "{full:?}");
    let large = small.with_limit(41_000_000);
    large.bring_listed(std::slice::from_ref(&listed)).expect("room");
    listed.check(folder.path()).expect("whole");
}
