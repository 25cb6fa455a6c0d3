//! Every row of the table that decides about reuse, for each that a source may carry, with and without GeoIP.

use serde_json::Value;
use tokenwarden::simulate::places::WORLD;

use super::log::{
    BROWSER, FRANKFURT, HOME, LIBRARY, Log, MINUTE, NEW_YORK_CAFE, NEWER_BROWSER, Who, at,
};
use super::{Desk, Printed};

/// What other rules say of the same presentations (another network, another kind of client) is not the table's.
const CONFIG: &str = "mode: enforce
clients: { default: { rotation: enforced, reuse_grace: 30s } }
overrides:
  suspicious-network: { mode: off }
  concurrent-places: { mode: off }
  automation-client: { mode: off }
";

/// How somebody stands to the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Own,
    Unknown,
    Foreign,
}

use Stands::{Foreign, Own, Unknown};

/// What a source carries besides the address: the owner, and who stands how to the owner.
struct Carried {
    name: &'static str,
    owner: Who,
    own: Who,
    unknown: Who,
    /// Who is foreign by what is carried; the address alone needs GeoIP for that.
    foreign: Who,
    needs_places: bool,
}

const CARRIED: &[Carried] = &[
    Carried {
        name: "address",
        owner: HOME,
        own: HOME,
        unknown: at(NEW_YORK_CAFE),
        foreign: at(FRANKFURT),
        needs_places: true,
    },
    Carried {
        name: "user agent",
        owner: Who {
            agent: Some(BROWSER),
            ..HOME
        },
        own: Who {
            agent: Some(NEWER_BROWSER),
            ..HOME
        },
        unknown: Who {
            agent: Some(BROWSER),
            ..at(NEW_YORK_CAFE)
        },
        foreign: Who {
            agent: Some(LIBRARY),
            ..HOME
        },
        needs_places: false,
    },
    Carried {
        name: "device id",
        owner: Who {
            device: Some("laptop"),
            ..HOME
        },
        own: Who {
            device: Some("laptop"),
            ..at(NEW_YORK_CAFE)
        },
        unknown: at(NEW_YORK_CAFE),
        foreign: Who {
            device: Some("another"),
            ..HOME
        },
        needs_places: false,
    },
    Carried {
        name: "proof key",
        owner: Who {
            key: Some("key one"),
            ..HOME
        },
        own: Who {
            key: Some("key one"),
            agent: Some(LIBRARY),
            ..at(FRANKFURT)
        },
        unknown: at(NEW_YORK_CAFE),
        foreign: Who {
            key: Some("key two"),
            ..HOME
        },
        needs_places: false,
    },
];

impl Carried {
    fn who(&self, stands: Stands) -> Who {
        match stands {
            Own => self.own,
            Unknown => self.unknown,
            Foreign => self.foreign,
        }
    }
}

/// A row: what is presented how, and the verdict for own, unknown and foreign.
struct Row {
    name: &'static str,
    log: fn(Log, owner: Who, other: Who) -> Log,
    verdicts: [Option<&'static str>; 3],
}

const FAULT: Option<&str> = Some("client_fault");
const SUSPECTED: Option<&str> = Some("suspected");
const THEFT: Option<&str> = Some("theft");

/// The newest token is `u-t2`, issued 20 minutes after the beginning.
const ROWS: &[Row] = &[
    Row {
        name: "gap 1 within grace, accepted",
        log: |log, owner, other| {
            log.refresh(30.0 * MINUTE, owner, "u-t2", "u-t3").refresh(
                30.0 * MINUTE + 20.0,
                other,
                "u-t2",
                "u-t3b",
            )
        },
        verdicts: [None, SUSPECTED, THEFT],
    },
    Row {
        name: "gap 1 within 30 min, successor unused, accepted",
        log: |log, owner, other| {
            log.refresh(30.0 * MINUTE, owner, "u-t2", "u-t3").refresh(
                59.0 * MINUTE,
                other,
                "u-t2",
                "u-t3b",
            )
        },
        verdicts: [None, SUSPECTED, THEFT],
    },
    Row {
        name: "gap 1 after 30 min, successor unused, accepted",
        log: |log, owner, other| {
            log.refresh(30.0 * MINUTE, owner, "u-t2", "u-t3").refresh(
                61.0 * MINUTE,
                other,
                "u-t2",
                "u-t3b",
            )
        },
        verdicts: [SUSPECTED, SUSPECTED, THEFT],
    },
    Row {
        name: "gap 2, accepted",
        log: |log, owner, other| {
            log.refresh(30.0 * MINUTE, owner, "u-t2", "u-t3")
                .refresh(30.0 * MINUTE + 5.0, owner, "u-t3", "u-t4")
                .refresh(30.0 * MINUTE + 10.0, other, "u-t2", "u-t3b")
        },
        verdicts: [THEFT, THEFT, THEFT],
    },
    Row {
        name: "beyond grace, successor used, accepted",
        log: |log, owner, other| {
            log.refresh(30.0 * MINUTE, owner, "u-t2", "u-t3")
                .refresh(32.0 * MINUTE, owner, "u-t3", "u-t4")
                .refresh(33.0 * MINUTE, other, "u-t2", "u-t3b")
        },
        verdicts: [THEFT, THEFT, THEFT],
    },
    Row {
        name: "consumed, refused",
        log: |log, owner, other| {
            log.refresh(30.0 * MINUTE, owner, "u-t2", "u-t3").refused(
                50.0 * MINUTE,
                other,
                "u-t2",
                "reuse",
            )
        },
        verdicts: [FAULT, SUSPECTED, THEFT],
    },
    Row {
        name: "consumed, refused without a reason, a large gap",
        log: |log, owner, other| {
            log.refresh(30.0 * MINUTE, owner, "u-t2", "u-t3")
                .refresh(40.0 * MINUTE, owner, "u-t3", "u-t4")
                .refused(50.0 * MINUTE, other, "u-t0", "other")
        },
        verdicts: [FAULT, SUSPECTED, THEFT],
    },
    Row {
        name: "consumed by the other, the owner is refused",
        log: |log, owner, other| {
            log.refresh(30.0 * MINUTE, other, "u-t2", "u-t3").refused(
                50.0 * MINUTE,
                owner,
                "u-t2",
                "unknown_token",
            )
        },
        verdicts: [FAULT, SUSPECTED, THEFT],
    },
    Row {
        name: "refused, and the successor is in other hands",
        log: |log, owner, other| {
            log.refresh(30.0 * MINUTE, owner, "u-t2", "u-t3")
                .refresh(45.0 * MINUTE, other, "u-t3", "u-t4")
                .refused(56.0 * MINUTE, owner, "u-t2", "reuse")
        },
        verdicts: [FAULT, SUSPECTED, THEFT],
    },
    Row {
        name: "two successors, both in use",
        log: |log, owner, other| {
            log.refresh(30.0 * MINUTE, owner, "u-t2", "u-t3")
                .refresh(30.0 * MINUTE + 1.0, owner, "u-t2", "u-t3b")
                .refresh(40.0 * MINUTE, owner, "u-t3", "u-t4")
                .refresh(55.0 * MINUTE, other, "u-t3b", "u-t4b")
        },
        verdicts: [None, SUSPECTED, THEFT],
    },
    Row {
        name: "the newest token",
        log: |log, _, other| log.refresh(50.0 * MINUTE, other, "u-t2", "u-t3"),
        verdicts: [None, None, None],
    },
    Row {
        name: "never used, refused as unknown",
        log: |log, _, other| log.refused(50.0 * MINUTE, other, "u-t2", "unknown_token"),
        verdicts: [None, None, None],
    },
    Row {
        name: "never used, refused as a reuse",
        log: |log, _, other| log.refused(50.0 * MINUTE, other, "u-t2", "reuse"),
        verdicts: [None, None, None],
    },
    Row {
        name: "refused as expired",
        log: |log, owner, other| {
            log.refresh(30.0 * MINUTE, owner, "u-t2", "u-t3").refused(
                50.0 * MINUTE,
                other,
                "u-t2",
                "expired",
            )
        },
        verdicts: [None, None, None],
    },
    Row {
        name: "aftermath of the server's own reaction",
        log: |log, owner, other| {
            log.refresh(30.0 * MINUTE, owner, "u-t2", "u-t3").refused(
                50.0 * MINUTE,
                other,
                "u-t2",
                "session_ended",
            )
        },
        verdicts: [None, None, None],
    },
    Row {
        name: "garbage that nobody ever held",
        log: |log, _, other| log.refused(50.0 * MINUTE, other, "garbage", "unknown_token"),
        verdicts: [None, None, None],
    },
];

/// Another key is foreign whatever is presented with it.
fn expected(row: &Row, carried: &Carried, stands: Stands, located: bool) -> Option<&'static str> {
    let seen_as = if stands == Foreign && carried.needs_places && !located {
        Unknown
    } else {
        stands
    };
    let by_key = carried.name == "proof key" && stands == Foreign;
    let alive = ![
        "refused as expired",
        "aftermath of the server's own reaction",
    ]
    .contains(&row.name)
        && !row.name.starts_with("garbage")
        && row.name != "never used, refused as unknown";
    if by_key && alive {
        return THEFT;
    }
    row.verdicts[seen_as as usize]
}

/// The kinds that tell the rows of the table.
const LINEAGE: &[&str] = &["reuse", "fork", "client_mismatch", "binding_mismatch"];

fn verdict(printed: &Printed) -> Option<String> {
    let order = ["client_fault", "suspected", "theft"];
    let rank = |d: &Value| order.iter().position(|v| d["evidence"]["verdict"] == *v);
    let mut lineage = printed.detections();
    lineage.retain(|d| LINEAGE.iter().any(|kind| d["kind"] == *kind));
    lineage
        .iter()
        .filter_map(rank)
        .max()
        .map(|gravest| order[gravest].to_owned())
}

/// What must be done about a verdict: theft is revoked and told once, a suspicion is listed, a fault is neither.
fn done(printed: &Printed) -> [usize; 3] {
    ["revoke_family", "notify", "review"].map(|kind| printed.executed(kind).len())
}

#[test]
fn every_row_for_everybody_and_whatever_the_source_carries() {
    let mut wrong = Vec::new();
    for located in [true, false] {
        let desk = Desk::new(CONFIG, if located { WORLD } else { &[] });
        for carried in CARRIED {
            for row in ROWS {
                for stands in [Own, Unknown, Foreign] {
                    let log = (row.log)(
                        Log::begun("u", carried.owner),
                        carried.owner,
                        carried.who(stands),
                    );
                    let printed = desk.json(&[log.write(&desk)]);
                    let (got, want) = (verdict(&printed), expected(row, carried, stands, located));
                    let actions = match want {
                        Some("theft") => [1, 1, 0],
                        Some("suspected") => [0, 0, 1],
                        _ => [0, 0, 0],
                    };
                    // What is first suspected and proved later has been listed on the way.
                    let mut did = done(&printed);
                    if want == THEFT {
                        did[2] = 0;
                    }
                    // Another kind of device is recorded besides.
                    if did[2] > actions[2] && carried.foreign.agent.is_some() {
                        did[2] = actions[2];
                    }
                    if got.as_deref() != want || did != actions {
                        wrong.push(format!(
                            "{}, {stands:?} by {}, GeoIP {located}: {got:?} {did:?}, not {want:?} {actions:?}",
                            row.name, carried.name
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
