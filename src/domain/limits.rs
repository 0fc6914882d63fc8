//! Every fixed bound in one place, each with its why. What an operator may set is in the configuration instead.

use std::time::Duration;

/// The longest event type: the contract's figure, and short enough for a header.
pub const EVENT_TYPE_BYTES: usize = 256;
/// Segments of a pattern that has a star before its last one. Every place of stars that is in use is looked up for each
/// event: no more than 512 of them can match it, whatever patterns there are.
pub const PATTERN_SEGMENTS: usize = 8;
/// Nesting of an event's JSON. Receivers' parsers stop at about this depth (serde_json: 128), so deeper documents
/// could not be read where they are sent.
pub const JSON_DEPTH: usize = 128;
/// Labels of one event (`tenant`, `channel`, `ordering_key`): enough for any id, small in an index row.
pub const LABEL_BYTES: usize = 256;
/// Attributes of one event.
pub const ATTRIBUTES: usize = 64;
/// One attribute's value: room for a URI or a trace's state, and a header that receivers take.
pub const ATTRIBUTE_BYTES: usize = 1024;
/// How many times as large as the largest event's document a body in another encoding than JSON may be: the form
/// encoding repeats the names of all levels for every value, so that a small document could become a huge one. With the
/// default of `limits.payload` this is 4 MiB.
pub const ENCODED_TIMES: usize = 16;
/// What an attempt may take of memory beside its event and its body: the head and the body of its answer, and TLS.
pub const ATTEMPT_BYTES: usize = 64 * 1024;
/// How long an attempt waits for its share of the memory, before it counts as trouble of our own and is tried later.
pub const MEMORY_PATIENCE: Duration = Duration::from_secs(10);
/// An answer of the API, or the beginning of a request's body, that is not counted: it is small, and the number of
/// connections bounds it.
pub const UNCOUNTED_BYTES: usize = 8 * 1024;
/// Levels of a document that is written as JavaScript writes it: each level copies what is in it once more. Events have
/// fewer; a transform could make any number.
pub const STRINGIFIED_DEPTH: usize = 256;
/// An idempotency key: room for a URL-sized key, small in an index row.
pub const IDEMPOTENCY_KEY_BYTES: usize = 256;
/// How far ahead an event may be delayed.
pub const DELIVER_AHEAD: Duration = Duration::from_secs(366 * 86_400);

/// An endpoint URL, as commonly accepted by servers.
pub const URL_BYTES: usize = 2048;
/// Custom headers of one endpoint.
pub const ENDPOINT_HEADERS: usize = 64;
/// One custom header's value.
pub const HEADER_VALUE_BYTES: usize = 8 * 1024;
/// Signature schemes of one endpoint: an old sender's, the new one's, and room to spare.
pub const SIGNATURES: usize = 4;
/// Old secrets of one scheme in their grace at once. Each makes the signature's header about 50 bytes longer (90 for
/// ed25519); more rotations than this within a week are an accident.
pub const RETIRED_SECRETS: usize = 4;
/// How long an old secret signs beside the new one, when the rotation does not say.
pub const ROTATION_GRACE_DEFAULT: Duration = Duration::from_secs(86_400);
/// How long it may: within a week a receiver can be deployed anew.
pub const ROTATION_GRACE: Duration = Duration::from_secs(7 * 86_400);
/// Scopes that a token is asked for: they travel in one header or form.
pub const SCOPES: usize = 64;
/// A token: room for the large ones that carry groups, within what a header may hold.
pub const TOKEN_BYTES: usize = HEADER_VALUE_BYTES - 16;
/// Certificates in PEM form, of authorities or of a chain: some dozens.
pub const CERTIFICATES_PEM_BYTES: usize = 64 * 1024;
/// A private key in PEM form: RSA with 16,384 bits is 12 KiB.
pub const KEY_PEM_BYTES: usize = 16 * 1024;
/// Patterns, and channels, of one endpoint's subscription.
pub const SUBSCRIPTION_PATTERNS: usize = 256;
/// Metadata entries of one endpoint.
pub const METADATA: usize = 64;
/// Names, descriptions and metadata values of an endpoint.
pub const TEXT_BYTES: usize = 1024;
/// Retries one delivery may have: three a day for a year.
pub const RETRIES: u32 = 1000;
/// The longest delay between two attempts.
pub const RETRY_DELAY: Duration = Duration::from_secs(30 * 86_400);
/// Attempts at once to one endpoint.
pub const ENDPOINT_CONCURRENCY: u16 = 1024;

/// Deliveries of one ordered endpoint that may wait for a retry at once, each holding up its ordering key: they are held
/// in memory, some 300 bytes each. At this many, nothing is tried for the first time until some get further.
pub const ORDER_WAITING: usize = 16_384;
/// Schedule entries that an ordered lane looks at in one turn: some milliseconds, so that the others' turns come.
pub const ORDER_LOOKS: usize = 2_048;
/// Between looks through an ordered endpoint's schedule for what has expired in line, at the least: the time by which
/// such a delivery ends late.
pub const ORDER_SWEEP: Duration = Duration::from_secs(1);
/// Entries of the schedule for which a second more lies between two such looks: they take up a twentieth of the time.
pub const ORDER_SWEEP_PER_SECOND: u64 = 20_000;
/// Event types that are declared: each is compiled at every start and kept in memory with its texts.
pub const EVENT_TYPES: usize = 1000;
/// An event type's description: a paragraph.
pub const DESCRIPTION_BYTES: usize = 4096;
/// An event type's schema, and its example. With all that it refers to, a schema of a large API has a few tens of
/// kilobytes.
pub const SCHEMA_BYTES: usize = 64 * 1024;
/// Schemas that a schema applies to one value, counting each time that one is referred to. A choice between a few
/// hundred forms stays below; what doubles with each reference does not.
pub const SCHEMA_APPLIED: usize = 2000;
/// Schemas one inside the other, or one referring to the other, that apply to one value: bounds the stack.
pub const SCHEMA_CHAIN: usize = 32;
/// The depth of the data times its schema's longest chain: what a validation may need of a worker's stack. 2,048 need
/// less than half a megabyte of its two.
pub const SCHEMA_FRAMES: usize = 2048;
/// The stack of the thread that compiles schemas, in bytes, of which only what is used costs memory. Compiling
/// goes a dozen frames down for each level of the schema.
pub const SCHEMA_COMPILE_STACK: usize = 64 * 1024 * 1024;
/// Patterns of a schema: what they may cost in all, compiled, is the product with the next one.
pub const SCHEMA_PATTERNS: usize = 100;
/// One compiled pattern of a schema, in bytes: enough for `^.{1,255}$`, and it bounds the states that a match goes
/// through for each letter.
pub const SCHEMA_PATTERN_BYTES: usize = 512 * 1024;
/// Looks that a validation may take at the data, beside those for each of its bytes.
pub const VALIDATION_STEPS: u64 = 100_000;
/// Looks for each byte of the data: every text of it may be read some thirty times.
pub const VALIDATION_STEPS_PER_BYTE: u64 = 32;
/// Looks while violations are gathered, which cost memory each.
pub const VIOLATION_STEPS: u64 = 100_000;
/// Violations that an answer names: the first few say enough.
pub const VIOLATIONS: usize = 20;
/// An API description to import event types from, in bytes.
pub const IMPORT_BYTES: usize = 8 * 1024 * 1024;

/// A condition's text: room for a list of some hundred ids.
pub const CONDITION_BYTES: usize = 4 * 1024;
/// Nesting of a condition: its evaluation recurses, and a thread's stack of 2 MiB must hold it. The deepest takes 0.2 MiB,
/// or 1.1 MiB without optimization.
pub const CONDITION_DEPTH: usize = 32;
/// What one evaluation may spend (see `domain::budget`): 8,000 small objects can be looked at once, and the costliest
/// expression still ends within a tenth of a second or so.
pub const CONDITION_BUDGET: u64 = 200_000;
/// What the conditions of one event's endpoints may spend in all: 10,000 conditions as people write them, or fifty of the
/// costliest, which is about a second. An event that needs more is refused.
pub const EVENT_CONDITIONS_BUDGET: u64 = 10_000_000;
/// What those of all events of one request may spend: about ten seconds. The rest of a batch is refused, and may be sent again.
pub const REQUEST_CONDITIONS_BUDGET: u64 = 100_000_000;
/// What the conditions of one event may spend on an async thread, which is about two milliseconds; what needs more goes on in
/// the work pool. A thousand simple conditions stay below, and do not pay for the way there.
pub const INLINE_CONDITIONS_BUDGET: u64 = 20_000;
/// Data that is parsed on an async thread, for conditions or a schema: some tens of microseconds.
pub const INLINE_DATA_BYTES: usize = 8 * 1024;
/// Looks that a validation may take on an async thread, for the same time as conditions may.
pub const INLINE_VALIDATION_STEPS: u64 = 20_000;
/// A document that is put into another encoding where the attempt runs: a millisecond at the most, although the form encoding
/// may make a hundred times as much of it.
pub const INLINE_ENCODED_BYTES: usize = 2 * 1024;
/// Regular expressions of one condition.
pub const CONDITION_REGEXES: usize = 4;
/// One of them, compiled: room for some Unicode classes, and 10,000 endpoints of them still fit in memory.
pub const CONDITION_REGEX_BYTES: usize = 64 * 1024;
/// Nesting of one, for its compiler recurses.
pub const CONDITION_REGEX_DEPTH: u32 = 32;
/// What one search may cache: enough for the states of what people write, so that it is rarely filled even once.
pub const CONDITION_REGEX_CACHE: usize = 256 * 1024;

/// One side of an entry of the audit log, as JSON: what is longer is not kept. Most changes take some hundred bytes.
pub const AUDIT_BYTES: usize = 8 * 1024;
/// What the one who asks for a change may say about it.
pub const AUDIT_REASON_BYTES: usize = 1024;
/// Held deliveries that end in the same transaction as the endpoint is enabled: 600 KB of a record, and a batch of rows that
/// takes some 20 MB for a third of a second.
pub const DISCARDED_TOGETHER: usize = 50_000;

/// A transform's text.
pub const TRANSFORM_BYTES: usize = 16 * 1024;
/// Nesting of a transform: compiling it recurses, and a thread's stack of 2 MiB must hold that.
pub const TRANSFORM_DEPTH: usize = 60;
/// Instructions one rendering may run: a table of some thousand rows.
pub const TRANSFORM_FUEL: u64 = 200_000;
/// What one rendering may spend (see `domain::budget`): six megabytes of text in all, on the way and at the end.
pub const TRANSFORM_BUDGET: u64 = 100_000;
/// The engine's own measure of recursion, of which a macro that calls itself in a loop takes 7 or so: a tree of 25 levels.
pub const TRANSFORM_RECURSION: usize = 200;
/// Nesting of a value that a transform makes: a little more than an event's data can have.
pub const TRANSFORM_VALUE_DEPTH: usize = 160;
/// A transform's output: four times the default size of a payload.
pub const TRANSFORM_OUTPUT_BYTES: usize = 1024 * 1024;

/// Bytes of an answer's body that are read before the connection is dropped.
pub const RESPONSE_READ_BYTES: usize = 64 * 1024;
/// Bytes of an answer's body that are kept with the attempt.
pub const RESPONSE_KEPT_BYTES: usize = 4 * 1024;
/// How long a delivery's answer may take for its body once its head, which decides, has come: long enough for what a
/// receiver has to say about it, and no reason for a receiver to hold on to us.
pub const RESPONSE_BODY: Duration = Duration::from_secs(5);
/// Bytes of an answer's head: more is a protocol error.
pub const RESPONSE_HEAD_BYTES: usize = 64 * 1024;
/// Header fields in an answer's head: more is a protocol error.
pub const RESPONSE_HEADERS: usize = 100;

/// Wrong tries of a handshake's code before it is void: chances of 5 in 900,000.
pub const CODE_TRIES: u8 = 5;
/// How long Zoom gives a receiver for its answer, and how long it believes it.
pub const ZOOM_ANSWER: Duration = Duration::from_secs(3);
pub const ZOOM_PROOF_HOLDS: Duration = Duration::from_secs(72 * 3600);
/// How long Microsoft Graph gives a receiver for its answer.
pub const MICROSOFT_GRAPH_ANSWER: Duration = Duration::from_secs(10);
/// Between tries of an endpoint's first handshake: seconds for a receiver that is just starting, some two and a half
/// hours for one that is being mended.
pub const FIRST_HANDSHAKE_DELAYS: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(300),
    Duration::from_secs(1800),
    Duration::from_secs(7200),
];
/// Between tries of a handshake that is repeated: some eight hours, longer than most outages, before an endpoint that
/// works is no longer sent to.
pub const REPEATED_HANDSHAKE_DELAYS: [Duration; 5] = [
    Duration::from_secs(300),
    Duration::from_secs(1800),
    Duration::from_secs(3600),
    Duration::from_secs(7200),
    Duration::from_secs(14_400),
];
/// Before a handshake is tried again after trouble of our own.
pub const HANDSHAKE_OURS_PAUSE: Duration = Duration::from_secs(60);
/// Handshakes under way at once, few beside the attempts that may be under way in all.
pub const HANDSHAKES_AT_ONCE: usize = 64;
/// How long any other answer to a handshake may take: a person may be waiting for two of them, and others for the place.
pub const HANDSHAKE_ANSWER: Duration = Duration::from_secs(25);
/// An answer's header that is kept for a handshake: a media type, an origin, a number.
pub const KEPT_HEADER_BYTES: usize = 512;

/// How long a job of the work pool goes on before others have their turns.
pub const WORK_SLICE: Duration = Duration::from_millis(5);
/// Requests of one tenant in the work pool: some seconds of work, and a bound on what waits.
pub const WORK_JOBS: usize = 128;
/// CPU time after which a request answers with what it has and a cursor. Clients wait for half a minute or so, and the
/// request may have to share the threads.
pub const WORK_REQUEST: Duration = Duration::from_secs(5);
/// CPU time after which a request that cannot do so is ended.
pub const WORK_REQUEST_MOST: Duration = Duration::from_secs(20);
/// Rows that a list looks at between two looks at the time.
pub const WORK_LOOKS: usize = 500;

/// Rows of a list, when the request does not say.
pub const PAGE_DEFAULT: usize = 50;
/// Rows of a list at the most.
pub const PAGE_MAX: usize = 500;
/// Bytes of a list's rows as JSON after which its page ends early: a page of ordinary rows stays far below, and an answer
/// has a size that can be counted on.
pub const PAGE_BYTES: usize = 1024 * 1024;
/// Intervals that one answer has rollups of, at the most: all minutes that there are, or hours of four months.
pub const ROLLUPS: u64 = 3000;
/// How long rollups are kept by the minute, at the most; after that by the hour.
pub const ROLLUP_MINUTES: Duration = Duration::from_secs(48 * 3600);
/// Segments that one answer to a backup carries: each is a file that is kept open until it is sent, so that it can be
/// deleted meanwhile. 4 GiB of the usual size.
pub const BACKUP_SEGMENTS: usize = 64;
/// Backups that are taken at once: each reads the disk as fast as its client takes it.
pub const BACKUPS: usize = 4;
/// What a client says that it holds, and what it is told there is: some hundred bytes for each segment, of which
/// 100,000 hold some terabytes.
pub const BACKUP_HEAD_BYTES: usize = 16 * 1024 * 1024;
/// One read of a segment that is sent.
pub const BACKUP_CHUNK: usize = 256 * 1024;
