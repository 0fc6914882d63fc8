//! Disks that only say that they have synced: what is lost with them shows that each sync is needed.

use fastrand::Rng;
use serde_json::json;

use super::machine::Machine;
use crate::support::disk::{Cut, Effect, Fault, Image, Op};

const EVENTS: u32 = 10;

/// A kind of sync that the disk says it has done and has not.
struct Lie {
    what: &'static str,
    op: Op,
    pattern: &'static str,
    /// Whether the server is stopped before the power is cut. Only then are the store's files synced.
    stop: bool,
    /// Which of what is not synced survives.
    cut: Cut,
}

const fn lie(what: &'static str, op: Op, pattern: &'static str) -> Lie {
    Lie {
        what,
        op,
        pattern,
        stop: false,
        cut: Cut::Drop,
    }
}

const LIES: [Lie; 4] = [
    lie("segments", Op::Sync, "*.seg"),
    lie("the journal's names", Op::SyncFolder, "*/journal"),
    lie("the data folder's names", Op::SyncFolder, "var/data"),
    Lie {
        stop: true,
        // An empty file where sled says that pages lie. Were sled's files lost too, the store would only be made again.
        cut: Cut::Names,
        ..lie("the store's pages when it is closed", Op::Sync, "*/store/pages")
    },
];

/// Has events accepted, cuts the power, and looks at what the next boot finds.
/// `None`: disks cannot be mounted here.
fn live(lies: Vec<Fault>, stop: bool, cut: Cut) -> Option<Result<(), String>> {
    let mut machine = Machine::new(lies);
    if !machine.mount(Image::default()) {
        return None;
    }
    machine.spawn();
    machine.wait_ready().unwrap();
    for number in 0..EVENTS {
        let event = json!({"id": format!("e{number}"), "type": "a", "data": number});
        machine.server().event(&event);
    }
    if stop {
        assert_eq!(machine.server().stop().code(), Some(0), "{}", machine.log());
    }
    let image = machine.cut(cut, &mut Rng::with_seed(1));
    assert!(machine.mount(image));
    machine.spawn();
    Some(look(&mut machine, stop))
}

fn look(machine: &mut Machine, stopped: bool) -> Result<(), String> {
    machine.wait_ready()?;
    let server = machine.server();
    for number in 0..EVENTS {
        let answer = server.request("GET", &format!("/v1/events/e{number}"), None, b"");
        if answer.status != 200 {
            return Err(format!("e{number} was acknowledged: {}", answer.text()));
        }
    }
    let rebuilds = server.get("/v1/status")["store"]["rebuilds"].as_u64().unwrap();
    if stopped && rebuilds > 0 {
        return Err("the store was rebuilt after a clean stop".to_owned());
    }
    Ok(())
}

#[test]
fn a_disk_that_lies_about_its_syncs_is_found_out() {
    for (stop, cut) in [(false, Cut::Drop), (true, Cut::Names)] {
        match live(Vec::new(), stop, cut) {
            None => return,
            Some(honest) => assert_eq!(honest, Ok(()), "a disk that tells the truth, {cut:?}"),
        }
    }
    for lie in LIES {
        let fault = Fault::new(&[lie.op], lie.pattern, Effect::Lie);
        let found = live(vec![fault], lie.stop, lie.cut).expect("a disk");
        let loss = found.expect_err(&format!("nobody missed a sync of {}", lie.what));
        let loss = loss.lines().next().unwrap_or_default();
        println!("not synced: {}; found out: {loss}", lie.what);
    }
}
