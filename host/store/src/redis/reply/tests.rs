//! The two protocols say the same, and errors keep their meaning.

use proptest::prelude::*;

use super::*;

fn bulk(text: impl AsRef<[u8]>) -> Value {
    Value::BulkString(text.as_ref().to_vec())
}

/// An error as the parser of the client makes it.
fn said(line: &str) -> ServerError {
    match ::redis::parse_redis_value(format!("-{line}\r\n").as_bytes()) {
        Ok(Value::ServerError(err)) => err,
        other => panic!("not an error: {other:?}"),
    }
}

#[test]
fn the_servers_words_keep_their_meaning() {
    let kind = |line: &str| match server_error(&said(line), "k") {
        StoreError::WrongType(text) => format!("wrong type: {text}"),
        StoreError::Invalid(text) => format!("invalid: {text}"),
        StoreError::NoGroup(text) => format!("no group: {text}"),
        StoreError::Denied(text) => format!("denied: {text}"),
        StoreError::Refused(text) => format!("refused: {text}"),
        other => panic!("{line}: {other:?}"),
    };
    let lines = [
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "ERR value is not an integer or out of range",
        "ERR hash value is not an integer",
        "ERR increment or decrement would overflow",
        "ERR value is not a valid float",
        "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
        "NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option",
        "ERR no such key",
        "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use MKSTREAM",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "READONLY You can't write against a read only replica.",
        "LOADING Redis is loading the dataset in memory",
        "MISCONF Redis is configured to save RDB snapshots",
        "NOREPLICAS Not enough good replicas to write.",
        "CLUSTERDOWN The cluster is down",
        "NOPERM this user has no permissions to run the 'get' command",
        "ERR unknown command 'FOO'",
    ];
    let kinds: Vec<String> = lines.iter().map(|line| kind(line)).collect();
    insta::assert_snapshot!(kinds.join("\n"), @r"
    wrong type: `k` holds another kind of value
    wrong type: `k` holds no integer of 64 bits
    wrong type: `k` holds no integer of 64 bits
    invalid: the sum under `k` would overflow
    invalid: a score for `k` is no number
    invalid: `k`: string exceeds maximum allowed size (proto-max-bulk-len)
    no group: No such key 's' or consumer group 'g' in XREADGROUP with GROUP option
    no group: `k` is no stream with consumer groups
    no group: `k` is no stream with consumer groups
    refused: OOM command not allowed when used memory > 'maxmemory'.
    refused: READONLY You can't write against a read only replica.
    refused: LOADING Redis is loading the dataset in memory
    refused: MISCONF Redis is configured to save RDB snapshots
    refused: NOREPLICAS Not enough good replicas to write.
    refused: CLUSTERDOWN The cluster is down
    denied: this user has no permissions to run the 'get' command
    refused: ERR unknown command 'FOO'
    ");
    for line in lines {
        let keyed = server_error(&said(line), "k").to_string();
        assert_eq!(error(&said(line).into()).to_string(), keyed.replace("`k`", "the key"), "{line}");
    }
}

#[test]
fn a_lost_connection_is_not_a_refusal() {
    let io = |kind| error(&RedisError::from(std::io::Error::from(kind)));
    assert!(matches!(io(std::io::ErrorKind::TimedOut), StoreError::TimedOut(_)));
    assert!(matches!(io(std::io::ErrorKind::BrokenPipe), StoreError::Unavailable(_)));
    assert!(matches!(io(std::io::ErrorKind::ConnectionRefused), StoreError::Unavailable(_)));
    let parse = RedisError::from((ErrorKind::Parse, "garbage"));
    assert!(matches!(error(&parse), StoreError::Unavailable(_)));
    let login = RedisError::from((ErrorKind::AuthenticationFailed, "wrong password"));
    assert!(matches!(error(&login), StoreError::Refused(_)));
}

#[test]
fn an_error_inside_an_answer_is_found() {
    let value = Value::Array(vec![bulk("a"), Value::ServerError(said("WRONGTYPE x"))]);
    let error = list(value, "k").unwrap().into_iter().map(|value| bytes(value, "k")).collect::<Result<Vec<_>, _>>();
    assert!(matches!(error, Err(StoreError::WrongType(_))));
}

#[test]
fn pending_entries_that_were_deleted_have_no_fields() {
    let deleted = Value::Array(vec![bulk("1-2"), Value::Nil]);
    let entry = Value::Array(vec![bulk("1-3"), Value::Array(vec![bulk("a"), bulk("")])]);
    let answer = Value::Array(vec![Value::Array(vec![bulk("s"), Value::Array(vec![deleted, entry, Value::Nil])])]);
    let fields = vec![Field::new("a", "")];
    let expected = vec![(EntryId { ms: 1, seq: 2 }, None), (EntryId { ms: 1, seq: 3 }, Some(fields))];
    assert_eq!(read_entries(answer, "s").unwrap(), expected);
    assert_eq!(read_entries(Value::Nil, "s").unwrap(), vec![]);
}

/// Any answer, nested a little.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        Just(Value::Okay),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Double),
        any::<bool>().prop_map(Value::Boolean),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(Value::BulkString),
        "[0-9]{0,4}(-[0-9]{0,4})?".prop_map(Value::SimpleString),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let pairs = prop::collection::vec((inner.clone(), inner.clone()), 0..4);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec(inner, 0..4).prop_map(Value::Set),
            pairs.prop_map(Value::Map),
        ]
    })
}

proptest! {
    /// Nothing that a server may send brings the host down.
    #[test]
    fn no_answer_panics(value in value()) {
        let _ = bytes(value.clone(), "k");
        let _ = text_lossy(value.clone(), "k");
        let _ = count(value.clone(), "k");
        let _ = fields(value.clone(), "k");
        let _ = scored(value.clone(), "k");
        let _ = entries(value.clone(), "k");
        let _ = read_entries(value, "k");
    }

    #[test]
    fn maps_flat_lists_and_lists_of_pairs_are_the_same(fields_in in prop::collection::vec(("[a-z]{0,4}", prop::collection::vec(any::<u8>(), 0..8)), 0..6)) {
        let expected: Vec<Field> = fields_in.iter().map(|(name, value)| Field::new(name.as_str(), value.clone())).collect();
        let pairs: Vec<(Value, Value)> = fields_in.iter().map(|(name, value)| (bulk(name), bulk(value))).collect();
        let flat = Value::Array(pairs.iter().flat_map(|(name, value)| [name.clone(), value.clone()]).collect());
        let nested = Value::Array(pairs.iter().map(|(name, value)| Value::Array(vec![name.clone(), value.clone()])).collect());
        prop_assert_eq!(&fields(Value::Map(pairs), "k").unwrap(), &expected);
        prop_assert_eq!(&fields(flat, "k").unwrap(), &expected);
        prop_assert_eq!(&fields(nested, "k").unwrap(), &expected);
    }

    #[test]
    fn numbers_are_read_from_text_too(number in any::<i64>(), number_of in any::<u64>(), score_in in any::<f64>().prop_filter("scores are never NaN", |score| !score.is_nan())) {
        prop_assert_eq!(integer(Value::Int(number), "k").unwrap(), number);
        prop_assert_eq!(integer(bulk(number.to_string()), "k").unwrap(), number);
        prop_assert_eq!(count(bulk(number_of.to_string()), "k").unwrap(), number_of);
        prop_assert_eq!(score(Value::Double(score_in), "k").unwrap(), Some(score_in));
        prop_assert_eq!(score(bulk(score_in.to_string()), "k").unwrap(), Some(score_in));
    }

    #[test]
    fn ids_are_read_as_they_are_written(ms in any::<u64>(), seq in any::<u64>()) {
        let id = EntryId { ms, seq };
        prop_assert_eq!(entry_id(bulk(id.to_string()), "k").unwrap(), id);
    }
}

/// Anything that a server may say.
fn any_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["[0-9]{1,20}", "[0-9]{1,20}-[0-9]{1,20}", "-?(inf|nan|1e999)", ".{0,4}"];
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Double),
        any::<bool>().prop_map(Value::Boolean),
        text.prop_map(bulk),
        prop::collection::vec(any::<u8>(), 0..4).prop_map(Value::BulkString),
        "[A-Z]{0,4}".prop_map(Value::SimpleString),
    ];
    leaf.prop_recursive(4, 24, 4, |value| {
        let pair = (value.clone(), value.clone());
        prop_oneof![
            prop::collection::vec(value.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec(value.clone(), 2..=2).prop_map(Value::Array),
            prop::collection::vec(value, 0..4).prop_map(Value::Set),
            prop::collection::vec(pair, 0..3).prop_map(Value::Map),
        ]
    })
}

#[test]
fn no_reply_is_too_odd() {
    sandbar_test_harness::fuzz::check(file!(), "replies", any_value(), |value| {
        let v = || value.clone();
        let _ = (done(v(), "k"), bytes(v(), "k"), text(v(), "k"), text_lossy(v(), "k"), integer(v(), "k"));
        let _ = (count(v(), "k"), score(v(), "k"), list(v(), "k"), pairs(v(), "k"), fields(v(), "k"));
        let _ = (scored(v(), "k"), entry_id(v(), "k"), raw_entry(v(), "k"), raw_entries(v(), "k"));
    });
}
