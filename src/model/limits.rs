//! Every bound, with its unit and its reason. What happens at a bound is counted, never silent.

use std::time::Duration;

/// A record larger than this is rejected. The largest real event seen (Keycloak with long details) is below 16 KiB.
pub const RECORD_BYTES_MAX: usize = 256 * 1024;
/// Unknown members kept for evidence.
pub const EXTRA_BYTES_MAX: usize = 4 * 1024;
/// What the reject table keeps of a payload.
pub const REJECT_BYTES_MAX: usize = 4 * 1024;
/// Contract: `event_id` is 1 to 256 bytes.
pub const EVENT_ID_BYTES_MAX: usize = 256;
/// Any other id or name; Keycloak's columns hold 255.
pub const ID_BYTES_MAX: usize = 512;
/// User agents and provider error texts are cut here: hostile clients send megabytes.
pub const TEXT_BYTES_MAX: usize = 1024;
/// Records in one batch: small enough to keep latency, large enough to amortise the hand-over.
pub const BATCH_RECORDS_MAX: usize = 1000;
/// An event further ahead of its arrival is a broken clock (DESIGN, Time).
pub const FUTURE_MAX: Duration = Duration::from_mins(5);
/// In `replay` a jump over this moves the watermark only when a second event confirms it.
pub const REPLAY_JUMP_MAX: Duration = Duration::from_hours(1);
/// Two daemons on one store may disagree about the time by so much.
pub const CLOCKS_APART: Duration = Duration::from_mins(1);
/// A step of the wall clock up to this is followed at once.
pub const CLOCK_STEP_MAX: Duration = Duration::from_secs(5);
/// A larger one when it has lasted so long: time servers correct themselves sooner.
pub const CLOCK_JUMP_LASTS: Duration = Duration::from_mins(1);
/// Default lateness of a source.
pub const LATENESS_DEFAULT: Duration = Duration::from_mins(2);
/// Rows of a real server (Keycloak on PostgreSQL) stand up to 200 ms out of order; a question that has settled reads
/// nothing of its last moment, so that this disorder cannot change the answer.
pub const DISORDER_MAX_MS: i64 = 200;
/// Detections that one notification lists; beyond it says how many more there are.
pub const NOTIFICATION_DETECTIONS_MAX: usize = 20;
/// Presentations remembered of one family (48 bytes each): eight hours at one refresh in five minutes. Beyond it undisputed
/// links of a chain are drawn together: a token from between is then no longer told from an unknown one.
pub const LEDGER_ENTRIES_MAX: usize = 96;
/// Of so many newest presentations the names are kept, for the timeline of a detection.
pub const LEDGER_NAMED_ENTRIES: usize = 12;
/// Of these so many may be refusals, which anybody with a dead token can cause.
pub const LEDGER_REFUSALS_MAX: usize = 16;
/// Different sets of scopes remembered of one family: apps that name another set for each of their services have a handful.
pub const FAMILY_SCOPES_MAX: usize = 8;
/// Contexts remembered of presentations older than that.
pub const LEDGER_SETTLED_MAX: usize = 16;
/// Event ids are remembered for one to two of these, in event time: far longer than any redelivery seen.
pub const REPEATS_TURN: Duration = Duration::from_hours(2);
/// Event ids in one generation of that memory (about 10 bytes each).
pub const REPEATS_MAX: usize = 4_000_000;
/// Families remembered.
pub const FAMILIES_MAX: usize = 8_000_000;
/// Tokens that lead to a family, for each that is remembered.
pub const TOKENS_PER_FAMILY: usize = 4;
/// Users, address prefixes and clients that the engine keeps state for.
pub const USERS_MAX: usize = 8_000_000;
pub const NETWORKS_MAX: usize = 2_000_000;
pub const CLIENTS_MAX: usize = 100_000;
/// Families and users of which findings are put together; a finding is rare, and an entry some 200 bytes.
pub const RISKS_MAX: usize = 1_000_000;
/// Questions that wait, two seconds each and five minutes where a login is awaited; some 40 bytes each. Only a partition that stands
/// still while another goes on lets so many gather: a minute and a half of 40,000 events a second. Beyond it the oldest is answered at once.
pub const QUESTIONS_MAX: usize = 4_000_000;
/// Users and sessions whose families are listed, so that what is done to them reaches each, for each user that is
/// remembered; some 60 bytes each.
pub const MEMBERS_PER_USER: usize = 2;
/// Least and most that a configuration may say of these: a table has 256 shards of eight entries at least, and beyond the
/// other it is no matter of one machine.
pub const ENTRIES_MIN: usize = 2048;
pub const ENTRIES_MAX: usize = 100_000_000;
/// Least that it may say of the memory of the process: rules, code and buffers take so much.
pub const MEMORY_MIN: u64 = 16 * 1024 * 1024;
/// Sessions and users known to have been ended.
pub const ENDED_MAX: usize = 2_000_000;
/// A configuration or rule file. The longest one imagined (a thousand declared clients) is near 200 KiB.
pub const YAML_BYTES_MAX: usize = 1024 * 1024;
/// Lists and mappings inside each other. Ours need nine; the reader of a deeper file would be lost, and so might our stack.
pub const YAML_DEPTH_MAX: usize = 32;
/// Faults that one check reports: who has more has one cause for most of them.
pub const FAULTS_MAX: usize = 200;
/// The file of a secret: a chain of certificates in PEM fits.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;
/// Any duration in a file: beyond it arithmetic on event times could leave the calendar.
pub const DURATION_MAX: Duration = Duration::from_hours(24 * 36_500);
/// Incidents open at once; beyond it the one longest without a detection closes.
pub const INCIDENTS_OPEN_MAX: usize = 100_000;
/// Subjects whose closed incidents are counted, for the episode; beyond it the one that closed longest ago is forgotten.
pub const INCIDENTS_CLOSED_MAX: usize = 1_000_000;
/// Clients and networks in which people are counted for storms, of the last ten minutes; an entry is at most some 5 KB.
pub const STORM_PLACES_MAX: usize = 10_000;
/// Actions in ten minutes that one person takes from the budgets of all. A stolen person seldom has more families; seven
/// accounts, and not one, are needed to use up a client's 20.
pub const ACTIONS_SHARED_PER_PERSON: usize = 3;
/// A person has so long to decide about an action that is held or offered; then it is over, and the thief has had an hour.
pub const HELD_EXPIRES: Duration = Duration::from_hours(1);
/// An incident without a detection for so long closes itself when all of its actions are over.
pub const INCIDENT_IDLE: Duration = Duration::from_hours(24);
/// Incidents closed so in one go, a minute apart.
pub const INCIDENTS_CLOSED_AT_ONCE: u32 = 500;
/// Silences in force at a time: who needs more needs exceptions. Each is looked at for every finding.
pub const SILENCES_MAX: usize = 200;
/// The longest silence: what nobody wants to hear of for longer is an exception.
pub const SILENCE_MAX: Duration = Duration::from_hours(30 * 24);
/// Why somebody decided as they did: a paragraph.
pub const NOTE_BYTES_MAX: usize = 1000;
/// The body of a request to the API: a note and a handful of names.
pub const API_BODY_BYTES_MAX: usize = 16 * 1024;
/// Names with tokens for the API: a team.
pub const API_TOKENS_MAX: usize = 100;
/// A share of fewer families than this is no measure: half a per cent of 200 is one.
pub const SHARE_FAMILIES_MIN: u32 = 1000;
/// Clients of tenants whose breakers are open at a time; beyond it the one opened longest ago is forgotten.
pub const BREAKERS_MAX: usize = 1000;
/// What was told as under way and fails after another failure was told: people hear of such so often at most.
pub const FAILURES_TOLD_EVERY: Duration = Duration::from_mins(15);
/// People are told again that revocations of an incident wait: as often as Alertmanager repeats a page by default.
pub const WAITING_NOTICE_EVERY: Duration = Duration::from_hours(4);
/// Addresses whose network and place are remembered per worker: hot addresses repeat, and one entry is some 200 bytes.
pub const ADDRESS_CACHE_SLOTS: usize = 16 * 1024;
/// Decoded GeoIP records that are remembered of each table per worker: cities and operators, of which an installation sees a
/// few thousand; one entry is some 100 bytes.
pub const GEO_RECORD_CACHE_SLOTS: usize = 8 * 1024;
/// User agents whose parsed form is remembered per worker; an installation has a few thousand different ones.
pub const AGENT_CACHE_SLOTS: usize = 4 * 1024;
/// Names that most events share (issuer, tenant, client, city, operator of the network), kept once per worker.
pub const NAME_CACHE_SLOTS: usize = 4 * 1024;
/// Names kept from GeoIP tables and user agents: longer ones are broken or hostile.
pub const NAME_BYTES_MAX: usize = 128;
/// Payload bytes in one batch: a thousand records of the largest size would be 256 MB.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// An idle partition says this often that it has been read to its end: well below the engine's settling time of 2 s.
pub const TICK_EVERY: Duration = Duration::from_millis(500);
/// How long a source collects records of one batch while more keep coming: adds to the latency of every event.
pub const BATCH_WAIT_MAX: Duration = Duration::from_millis(20);
/// First and longest pause before an unreachable server is tried again.
pub const SOURCE_RETRY_MIN: Duration = Duration::from_secs(1);
pub const SOURCE_RETRY_MAX: Duration = Duration::from_secs(30);
/// A broker that does not answer a question about offsets in this time counts as unreachable.
pub const KAFKA_QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for the question asked while reading, which holds up the other partitions meanwhile.
pub const KAFKA_PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Leaving a consumer group needs the broker; a stop does not wait longer for it.
pub const KAFKA_CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Webhook requests handled at once; the next is answered 503 and comes again. Memory is bounded to this many of the largest
/// bodies on their way, and as many being stored.
pub const WEBHOOK_REQUESTS_MAX: usize = 64;
/// Records in one webhook request: one transaction of the store.
pub const WEBHOOK_RECORDS_MAX: usize = 10_000;
/// A sender that takes longer to send its body is cut off, so that slow senders cannot hold all connections.
pub const WEBHOOK_BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// What a sender or a client of the API is told to wait when the store does not answer, or another daemon leads.
pub const ANSWER_RETRY_AFTER: Duration = Duration::from_secs(5);
/// What has been taken becomes durable at least this often; sooner when something was found.
pub const COMMIT_EVERY: Duration = Duration::from_millis(50);
/// Records that may wait for a commit.
pub const COMMIT_RECORDS_MAX: usize = 20_000;
/// How long after a start, once a source is read, its other partitions are waited for: longer than a group of consumers
/// takes to notice that the one before us is gone (45 s, librdkafka's `session.timeout.ms`).
pub const PARTITIONS_AWAITED_MAX: Duration = Duration::from_mins(1);
/// Records that wait while another partition is read again after a restart: seconds of a busy stream, some 250 MB.
pub const RECORDS_HELD_BACK_MAX: usize = 200_000;
/// Bytes of them, decoded: one record may have 256 KiB, and those of a busy stream together are some 250 MB.
pub const BYTES_HELD_BACK_MAX: usize = 256 * 1024 * 1024;
/// Records of one Kafka partition that are read again at most when it is taken over or resumed: some ten minutes. A state that
/// stands farther back goes on with a gap.
pub const KAFKA_READ_AGAIN_MAX: i64 = 50_000_000;
/// After this time an unfinished snapshot is what a crash left behind, not what another daemon is writing.
pub const SNAPSHOT_WRITING_MAX: Duration = Duration::from_hours(1);
/// Bytes of the engine's saved form that are made between two batches: about a millisecond's work. Events wait so long for a
/// state that is being saved, and no longer.
pub const ROUND_PIECE_BYTES: usize = 256 * 1024;
/// How long a state is not saved that holds what another owner of a partition should have judged: it would be believed to
/// have been. By then that owner has, or we are given the partition back.
pub const WITHHELD_MAX: Duration = Duration::from_mins(10);
/// First and longest pause between tries while the store is away.
pub const STORE_RETRY_MIN: Duration = Duration::from_millis(100);
pub const STORE_RETRY_MAX: Duration = Duration::from_secs(10);
/// A reload waits so long for the engine to take it, which it does at once unless the store is away.
pub const RELOAD_WAIT_MAX: Duration = Duration::from_secs(5);
/// Batches that wait to be decoded; a full channel makes the sources wait.
pub const BATCHES_WAITING_MAX: usize = 16;
/// Batches that are decoded and wait for the engine: one being taken, and enough that neither waits for the other's pauses.
pub const PREPARED_WAITING_MAX: usize = 8;
/// Wait before the second try of an action, at most: most faults of a server are over at once.
pub const ACTION_RETRY_FIRST: Duration = Duration::from_millis(500);
/// Waits between tries double up to this: a server that comes back is met within minutes.
pub const ACTION_RETRY_MAX: Duration = Duration::from_mins(5);
/// A `Retry-After` is honoured up to this; a server must not be able to put an action off for days.
pub const RETRY_AFTER_MAX: Duration = Duration::from_mins(15);
/// Tries of one action. The delays reach it only when the process dies at each try.
pub const ATTEMPTS_MAX: u32 = 500;
/// A revocation that has not worked for so long needs a person: the thief has what there was to take.
pub const REVOCATION_DEADLINE: Duration = Duration::from_mins(15);
/// A mail that waited out a night's outage is still wanted.
pub const NOTIFICATION_DEADLINE: Duration = Duration::from_hours(24);
/// A notification waits so long for the outcome of the incident's other actions, so that one mail says "contained".
pub const OUTCOME_WAIT: Duration = Duration::from_secs(15);
/// How long a leased action is ours. Short, since it is what an action waits when its worker dies; a running try renews it.
pub const LEASE: Duration = Duration::from_secs(30);
/// A running try renews its lease so often: two renewals may fail.
pub const LEASE_RENEWAL: Duration = Duration::from_secs(10);
/// A stop waits so long for connections to the store that are in use.
pub const STORE_CLOSE_MAX: Duration = Duration::from_secs(5);
/// How long a daemon leads on a PostgreSQL store unless it renews that: what a second one waits when the first says no more.
pub const LEAD_LASTS: Duration = Duration::from_secs(6);
/// It is renewed so often, and tried again so soon when that fails.
pub const LEAD_RENEWAL: Duration = Duration::from_secs(2);
pub const LEAD_RETRY: Duration = Duration::from_millis(500);
/// One try at it.
pub const LEAD_TIMEOUT: Duration = Duration::from_millis(1500);
/// Nothing is begun outside so shortly before it ends: a call that has begun reaches its server later.
pub const LEAD_MARGIN: Duration = Duration::from_secs(1);
/// How often one that stands by looks whether it is its turn, and one that leads whether it still is while a call is under way.
pub const LEAD_LOOK_EVERY: Duration = Duration::from_millis(500);

const _: () = assert!(
    LEAD_LASTS.as_millis()
        > LEAD_RENEWAL.as_millis() + LEAD_TIMEOUT.as_millis() + LEAD_MARGIN.as_millis()
);
/// One call to a revoker, whatever its own time-outs are.
pub const REVOCATION_TIMEOUT: Duration = Duration::from_secs(30);
/// One notification to one receiver: a mail server may greet late, and there may be many recipients.
pub const NOTIFICATION_TIMEOUT: Duration = Duration::from_mins(2);
/// From a revocation's answer to its effect on every node of the server; a use within it was under way.
pub const REVOCATION_PROPAGATES: Duration = Duration::from_secs(10);
/// A revocation is watched for so long: whoever holds a token that is still good uses it within a day, or is found when he does.
pub const VERIFY_FOR: Duration = Duration::from_hours(24);
/// Revocations watched at once; budgets allow fewer within a day, and the oldest go first.
pub const VERIFIED_MAX: usize = 20_000;
/// Revocations about which the engine is asked at once: a millisecond of its time.
pub const VERIFY_ASKED_MAX: usize = 500;
/// Nobody is reminded of a revocation without effect before the policy has had time to step up.
pub const STEP_UP_SETTLES: Duration = Duration::from_secs(30);
/// Actions of one queue performed side by side. Each target has its own limit, far below this: several that are slow leave room.
pub const DELIVERY_LANES: usize = 32;
/// Calls to one target at once, and in a second, where the configuration says nothing: a storm is worked off, and an
/// authorization server not run over.
pub const TARGET_CONCURRENCY: u32 = 4;
pub const TARGET_PER_SECOND: u32 = 20;
/// Different actions that a target fails at in a row before it is left alone: two may have their own faults.
pub const CIRCUIT_FAULTS: usize = 3;
/// A target that fails is left alone for so long, and each time twice as long up to a minute: what was stolen stays usable meanwhile.
pub const CIRCUIT_PAUSE_FIRST: Duration = Duration::from_secs(5);
pub const CIRCUIT_PAUSE_MAX: Duration = Duration::from_mins(1);
/// Who is put off at a target comes again within so long of when it might have room.
pub const PUT_OFF_MAX: Duration = Duration::from_mins(1);
/// Whether an action is for a revoker may have to be asked of its server; one that does not answer must not hold up the others.
pub const CLAIM_WAIT_MAX: Duration = Duration::from_secs(5);
/// Between two canaries, which show that records get from a source to the outbox. The alert about missing ones waits for three.
pub const CANARY_EVERY: Duration = Duration::from_mins(5);
/// How often delivery looks when nothing has called it: what a second daemon or a person put into the store.
pub const DELIVERY_LOOK_EVERY: Duration = Duration::from_secs(1);

const _: () = assert!(LEASE.as_secs() > 2 * LEASE_RENEWAL.as_secs());
/// What is read of an HTTP answer: a Keycloak user with some hundred sessions fits, a broken proxy's page does not matter.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// What a sentence quotes of a server's answer, in characters: enough for an OAuth error with its description.
pub const EXCERPT_CHARS_MAX: usize = 200;
/// Instructions that one template of the configuration may take: ordinary ones take below a hundred.
pub const TEMPLATE_FUEL_MAX: u64 = 20_000;
/// A rendered URL or header.
pub const TEMPLATE_LINE_BYTES_MAX: usize = 8 * 1024;
/// A token whose lifetime the server does not tell is used this long.
pub const TOKEN_LIFETIME_DEFAULT: Duration = Duration::from_mins(1);
/// Offline sessions of one user ended by one action; more are ended by its next attempt.
pub const OFFLINE_SESSIONS_MAX: usize = 1000;
/// What a mail shows of one value, in characters: an ordinary user agent fits.
pub const MAIL_VALUE_CHARS_MAX: usize = 300;
/// What a mail shows of a rule's description, in characters: it says what to do, and must not end before that.
pub const MAIL_PARAGRAPH_CHARS_MAX: usize = 2000;
/// Rows of one table in a mail; a family's last events, not its life.
pub const MAIL_ROWS_MAX: usize = 12;
/// How long a measure (a block, a throttle, a challenge by a webhook) holds where the file says nothing: longer than most
/// attempts go on, and short enough that an error mends itself before anybody has noticed it.
pub const MEASURE_TTL_DEFAULT: Duration = Duration::from_hours(1);
pub const MEASURE_TTL_MIN: Duration = Duration::from_mins(1);
/// What is to hold longer than a month is for a person to decide.
pub const MEASURE_TTL_MAX: Duration = Duration::from_hours(30 * 24);
/// Measures that are taken back in one look; the next ones follow at once.
pub const TAKEN_BACK_AT_ONCE: u32 = 100;
/// Held actions that a mail gives a command for each; more are looked at in a list first.
pub const MAIL_HELD_MAX: usize = 3;
/// Mails that wait for some of their recipients; beyond it the oldest may reach somebody twice.
pub const MAILS_UNDER_WAY_MAX: usize = 1000;
/// Mails that the folder transport keeps of one incident.
pub const MAIL_FILES_MAX: u32 = 10_000;
/// How long a mail waits for a user's name: the mail matters more.
pub const NAME_WAIT_MAX: Duration = Duration::from_secs(3);
/// Clients and tenants that metrics show by name; with reasons and outcomes at most some four thousand series.
pub const METRIC_CLIENTS_MAX: usize = 30;
pub const METRIC_TENANTS_MAX: usize = 10;
/// Sessions and families whose last refresh is remembered for the metrics of intervals and device changes.
pub const METRIC_CHAINS_MAX: usize = 200_000;
/// Names that one top list counts in five minutes; a name with more than a thousandth of all is always among them.
pub const TOP_NAMES_MAX: usize = 1000;
/// Ranges of missing ids that a cursor by id remembers; beyond, the oldest are given up and counted. Eight writers left 953 open.
pub const SQL_GAPS_MAX: usize = 2000;
/// A backlog of more ids with many holes waits until they are known to be no late rows, but not longer than the next.
pub const SQL_BACKLOG_IDS: i64 = 10_000;
pub const SQL_BACKLOG_WAIT: Duration = Duration::from_secs(15);
/// Between warnings that rows are no longer looked for.
pub const SQL_WARN_EVERY: Duration = Duration::from_mins(1);
/// Newest ids among which missing ones may still be on their way when reading begins at the end of a table.
pub const SQL_SETTLING_IDS: u32 = 1000;
/// A missing id is waited for at least this long: it is drawn a moment before its transaction can be seen to run.
pub const SQL_GAP_GRACE: Duration = Duration::from_secs(10);
/// The same where the database does not tell its running transactions: longer than an ordinary transaction takes.
pub const SQL_GAP_GRACE_BLIND: Duration = Duration::from_mins(1);
/// The same where a sequence has CACHE > 1, so that a connection may use an id long after it was drawn.
pub const SQL_GAP_GRACE_CACHED: Duration = Duration::from_mins(10);
/// Ids that a cursor by time remembers, 16 bytes each in its position. Beyond, its window is cut at the old end and the rows counted.
pub const SQL_SEEN_MAX: usize = 10_000;
/// Polls remembered to tell when a running transaction began: an hour at half a second.
pub const SQL_SNAPSHOTS_MAX: usize = 7200;
/// How far Keycloak's tables are read again: rows of a real one appear up to 200 ms late, a loaded one takes longer.
pub const SQL_KEYCLOAK_OVERLAP: Duration = Duration::from_secs(5);
/// Between looks at MySQL's running transactions: its list is a cache that quick readers keep stale, and has whole seconds.
pub const SQL_TRANSACTIONS_EVERY: Duration = Duration::from_secs(2);
/// Pause after a poll that found some rows but no full page.
pub const SQL_BUSY_PAUSE: Duration = Duration::from_millis(50);
/// Between looks at how many rows wait.
pub const SQL_LAG_EVERY: Duration = Duration::from_secs(10);
/// A connection that takes longer counts as unreachable.
pub const SQL_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Unexpired rows of an application's token table: each is some 300 bytes in memory. Beyond, the oldest are not watched.
pub const SQL_TOKEN_ROWS_MAX: usize = 200_000;
/// How late a change in such a table may become visible around a restart.
pub const SQL_TOKEN_OVERLAP: Duration = Duration::from_mins(1);
/// Pause before a revoker is asked again whether an action is its own, when its server does not tell at the moment.
pub const UNCLEAR_RETRY: Duration = Duration::from_secs(10);
/// Newest events of a realm from which is told whether its addresses mean anything; one page of its index.
pub const SAMPLE_EVENTS_MAX: u32 = 500;
/// A part that has not answered the online check by then is a fault; all are asked at the same time.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(15);
/// Between the daemon's own online checks.
pub const CHECK_EVERY: Duration = Duration::from_hours(1);
/// A clock this far from ours spoils windows and signatures; below, it is the answer's way.
pub const CLOCK_OFF_MAX: Duration = Duration::from_secs(10);
/// Time of day, UTC, of the daily digest where a receiver names none: before the working day in Europe begins.
pub const DIGEST_AT: Duration = Duration::from_hours(7);
/// A day's digest is made so much later: what was decided in its last moment may still be on its way into the store.
pub const DIGEST_SETTLE: Duration = Duration::from_mins(1);
/// With nothing to tell a digest comes so often all the same: it shows that the daemon lives and that mails arrive.
pub const DIGEST_SIGN_OF_LIFE: Duration = Duration::from_hours(7 * 24);
/// The longest stretch that one digest tells of, after an outage.
pub const DIGEST_PERIOD_MAX: Duration = Duration::from_hours(7 * 24);
/// Would-be revocations of one digest whose fate is asked, and doubtful detections that it reads; beyond, it counts alone.
pub const DIGEST_FATES_MAX: u32 = 1000;
pub const DIGEST_DOUBTS_MAX: u32 = 5000;
/// Rows of one list in a bulletin; more are summed up.
pub const BULLETIN_ROWS_MAX: usize = 30;
/// Incidents that the summary of late ones names.
pub const LATE_INCIDENTS_MAX: u32 = 12;
/// The summary of what is held for its age waits until nothing more has come for so long: a backlog is read in one go.
pub const TOO_LATE_QUIET: Duration = Duration::from_secs(30);
/// ... but not longer than this after the first.
pub const TOO_LATE_WAIT_MAX: Duration = Duration::from_mins(5);
/// Between two such summaries: a backlog of hours is one mail an hour, not one every five minutes.
pub const TOO_LATE_AGAIN: Duration = Duration::from_hours(1);
/// Bulletins are kept at least so long, whatever the retention: the newest says where the next begins.
pub const BULLETINS_KEPT_MIN: Duration = Duration::from_hours(15 * 24);
/// Source of one condition in a rule; a page of text is two rules.
pub const EXPRESSION_BYTES_MAX: usize = 4 * 1024;
/// Nesting of a condition, brackets and chains alike: everything that walks over one recurses so deep.
pub const EXPRESSION_DEPTH_MAX: usize = 24;
/// Parts of a condition with its lists written out: what one evaluation costs at most.
pub const EXPRESSION_NODES_MAX: usize = 1000;
/// Values of one list in a condition; longer ones belong into a file of networks, clients or tenants.
pub const EXPRESSION_LIST_MAX: usize = 500;
/// Patterns of one condition, the length of each in bytes, and the memory of each when it is compiled.
pub const EXPRESSION_PATTERNS_MAX: usize = 16;
pub const EXPRESSION_PATTERN_BYTES_MAX: usize = 256;
pub const EXPRESSION_PATTERN_MEMORY: usize = 256 * 1024;
/// A text in which a pattern is sought; decoded texts are cut at a quarter of it.
pub const EXPRESSION_TEXT_BYTES_MAX: usize = 4 * 1024;
/// Worlds times conditions that are tried to find out whether a condition can be true: some 10 ms.
pub const EXPRESSION_TRIALS_MAX: u64 = 100_000;
/// Users of a simulated population: each takes about a kilobyte, and its number has to fit into 24 bits.
pub const SIMULATED_USERS_MAX: u32 = 10_000_000;
/// Days of a simulated log: a year and a little.
pub const SIMULATED_DAYS_MAX: u32 = 400;
/// Labels, techniques and known false positives of one rule: more nobody reads.
pub const LABELS_MAX: usize = 32;
/// One label, and reason or owner of an exception: a line of a list, with room for a link.
pub const LABEL_BYTES_MAX: usize = 256;
/// Exceptions of one rule. Each is looked at for every finding of it; who needs more needs another rule.
pub const EXCEPTIONS_MAX: usize = 200;
/// Values that one member of an exception may list.
pub const MATCH_VALUES_MAX: usize = 1000;
/// An exception that ends within so many days is told of: two weeks are enough to ask its owner.
pub const EXCEPTION_NEAR_DAYS: i32 = 14;
/// A rule is silent for at least so long: below the lateness of events the order of arrival would decide what is suppressed.
pub const SUPPRESS_MIN: Duration = LATENESS_DEFAULT;
/// ... and at most so long: a finding a month later is news.
pub const SUPPRESS_MAX: Duration = Duration::from_hours(30 * 24);
/// Things that rules are silent about at a time, some 200 bytes each; beyond it the one silent longest may be acted on again.
pub const SUPPRESSED_MAX: usize = 500_000;
/// Variants of one rule: clients by tenants that an override names. Each is a copy of the rule, some 2 KB.
pub const VARIANTS_MAX: usize = 10_000;
/// Files that `networks_file`, `clients_file` or `tenants_file` may name.
pub const LIST_FILES_MAX: usize = 200;
/// `replay --diff`: how long in event time what one set of rules found waits for its counterpart of the other. Rules that
/// settle otherwise differ by seconds or minutes.
pub const DIFF_WAIT: Duration = Duration::from_hours(1);
/// ... and how many wait; with their evidence some 4 KB each.
pub const DIFF_WAITING_MAX: usize = 10_000;
/// `replay --summary`: days that are told apart; those before are summed up.
pub const SUMMARY_DAYS_MAX: usize = 400;
/// ... clients and networks kept for certain, twice as many at most; with the users of each some 4 MB.
pub const SUMMARY_NAMES_MAX: usize = 1000;
/// ... and addresses, by which shared ones are found: at most 40 MB, where each of them has hundreds of users.
pub const SUMMARY_ADDRESSES_MAX: usize = 10_000;
/// From so many users on an address is one that people share, and not a large household.
pub const SHARED_USERS_MIN: u64 = 50;
/// Keys of generic rules that the engine remembers something of: some 200 bytes each where little happens.
pub const KEYED_MAX: usize = 4_000_000;
/// Entries of one such key (64 bytes each): a limit of 200 values in a window of eight parts fits.
pub const KEYED_HITS_MAX: usize = 4096;
/// The greatest limit of a generic rule: each value stands at least once in the memory of its key.
pub const KEYED_COUNT_MAX: u32 = 2000;
/// How long an event waits for facts that may excuse it: rows of one server come up to 200 ms out of order, those of two
/// tables a second.
pub const KEYED_SETTLE: Duration = Duration::from_secs(2);
/// Events that wait so (about 1 KiB each): ten seconds of a guesser who tries 5,000 tokens a second. Beyond it the oldest
/// is judged at once.
pub const KEYED_WAITING_MAX: usize = 50_000;
/// What is usual at a key is known by its last seven days; the day before them may still be read by a late event.
pub const KEYED_USUAL_KEPT: Duration = Duration::from_hours(9 * 24);
/// Values remembered of one key of a `first_seen` rule; the one seen longest ago goes first.
pub const KEYED_VALUES_MAX: usize = 20;
/// Steps of a sequence.
pub const KEYED_STEPS_MAX: usize = 8;
/// Users of whom a theft was found: what was learnt of them just before does not count.
pub const THEFTS_MAX: usize = 100_000;
/// Routes of one configuration, and values that one matcher may list: more belong into labels of rules.
pub const ROUTES_MAX: usize = 200;
pub const ROUTE_VALUES_MAX: usize = 1000;
/// Messages about incidents that a person gets within an hour: one a minute is more than anybody reads.
pub const MESSAGES_PER_HOUR: u32 = 60;
/// A part of them is kept for critical incidents, so that a flood of lesser ones cannot hide a theft: one in so many.
pub const MESSAGES_KEPT_ONE_IN: u32 = 4;
/// The stretch in which they are counted.
pub const MESSAGES_WINDOW: Duration = Duration::from_hours(1);
/// A receiver that has taken nothing for so long is tried on, and its fall-back is told meanwhile.
pub const FALLBACK_AFTER: Duration = Duration::from_mins(5);
/// One text in an entry of the audit log, in characters: a sentence of a server's answer fits.
pub const AUDIT_TEXT_CHARS_MAX: usize = 1000;
/// Entries of the audit log that are read at once.
pub const AUDIT_PAGE: u32 = 1000;
/// Entries that one entry of the log can say it emptied; a person with more takes several.
pub const AUDIT_EMPTIED_MAX: usize = 1000;
/// Entries that are pruned in one transaction: commits wait for it.
pub const AUDIT_PRUNED_MAX: i64 = 5000;
/// Refused requests at the API are told so often: the log must not be filled by who has no token.
pub const REFUSALS_TOLD_EVERY: Duration = Duration::from_mins(1);
/// Addresses that such an entry names.
pub const REFUSED_ADDRESSES_MAX: usize = 20;
/// One line of an exported log: an entry's texts are bounded, one that empties others names a thousand at most.
pub const AUDIT_LINE_BYTES_MAX: u64 = 1024 * 1024;
/// Alertmanagers of one cluster: more nobody runs.
pub const ALERTMANAGERS_MAX: usize = 10;
/// Slack: characters of a section and of one field; a message with more is refused as a whole.
pub const SLACK_SECTION_CHARS_MAX: usize = 3000;
pub const SLACK_FIELD_CHARS_MAX: usize = 2000;
/// ... and fields of one section.
pub const SLACK_FIELDS_MAX: usize = 10;
/// PagerDuty: characters of the summary, and bytes of a whole event.
pub const PAGERDUTY_SUMMARY_CHARS_MAX: usize = 1024;
pub const PAGERDUTY_EVENT_BYTES_MAX: usize = 512 * 1024;
/// A label of an alert: Alertmanager has no limit, and its pages and messages have.
pub const ALERT_LABEL_CHARS_MAX: usize = 128;
/// An annotation: a mail made of alerts stays readable.
pub const ALERT_ANNOTATION_CHARS_MAX: usize = 2000;
/// An alert is sent again so often. Alertmanager keeps nothing over a restart.
pub const ALERT_AGAIN_EVERY: Duration = Duration::from_mins(1);
/// ... and ends by itself when nothing was sent for so long: a daemon that is away has alerts of its own, and an attack is not
/// over because nobody speaks of it.
pub const ALERT_LASTS: Duration = Duration::from_mins(30);
/// An alert stands at least so long, unless the configuration says otherwise: twice Alertmanager's usual `group_interval`, after
/// which a group tells of what was added to it.
pub const ALERT_LASTS_AT_LEAST: Duration = Duration::from_mins(10);
/// That it is over is said again for so long: an Alertmanager that was away hears it too.
pub const ALERT_ENDED_FOR: Duration = Duration::from_mins(5);
/// How often it is looked whether an incident that was told has been taken on or has ended.
pub const FOLLOW_EVERY: Duration = Duration::from_secs(10);
/// People are reminded for so long of what waits for them; then the digest lists it.
pub const REMIND_FOR: Duration = Duration::from_hours(24);
/// Incidents that one look for reminders takes.
pub const REMINDED_MAX: u32 = 500;
/// Incidents whose state is told in one go.
pub const FOLLOWED_MAX: u32 = 100;
/// JSON of one frame of the archive. A commit ends a frame in any case; larger ones compress hardly better, and what a commit waits
/// for is the last of them.
pub const ARCHIVE_FRAME_BYTES: usize = 1024 * 1024;
/// A frame as it is read back: one that claims more is broken. A line has at most some 100 KiB more than fit.
pub const ARCHIVE_FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A file of the archive; an hour with more has several, so that erasing and mending copy no more than this at once.
pub const ARCHIVE_FILE_BYTES: u64 = 256 * 1024 * 1024;
/// What is written reaches the disk at least this often: what a power failure may cost.
pub const ARCHIVE_SYNC_EVERY: Duration = Duration::from_secs(1);
/// Batches that wait for the archive's thread; more wait in the commit, which waits for all of them.
pub const ARCHIVE_BATCHES_WAITING_MAX: usize = 32;
/// A commit waits so long for the archive. A disk that takes longer hangs, and detection goes on without it.
pub const ARCHIVE_WAIT_MAX: Duration = Duration::from_secs(5);
/// Events at the end of the archive that a start remembers, so as not to write them again: more than one commit holds. They may
/// stand in several files, after several crashes.
pub const ARCHIVE_EVENTS_REMEMBERED: usize = 2 * COMMIT_RECORDS_MAX;
/// What `explain` reads of the archive, packed, newest first: some tens of millions of events, below a minute.
pub const ARCHIVE_SEARCHED_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// What a notification opens of it, packed, newest first. Besides, it goes over the file that is being written, twice, to find where
/// frames begin.
pub const ARCHIVE_SEARCHED_FOR_NOTICE_BYTES: u64 = 32 * 1024 * 1024;
/// Events of one family that a notification shows from it.
pub const NOTICE_STORY_MAX: usize = 8;
/// Stories that are remembered for notifications that their receivers' limits or circuits put off: some hundred KB.
pub const STORIES_REMEMBERED: usize = 256;
/// A notification waits so long for them.
pub const STORY_WAIT_MAX: Duration = Duration::from_secs(3);
/// Events of one family that are shown from the archive.
pub const ARCHIVE_EVENTS_SHOWN: usize = 40;
