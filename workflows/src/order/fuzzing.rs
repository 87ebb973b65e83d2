//! What fuzz targets call of the process: the readers of what its workflow is told. Exists only
//! with `--cfg fuzzing`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use temporalio_common::data_converters::RawValue;
use temporalio_protos::temporal::api::common::v1::Payload;

use crate::order::signal_payload;
use crate::order::view::{
    CancelRequest, PartyUpdate, PaymentReplaced, Resolution, Reviewed, read, short,
};

/// The longest text of a caller that a history holds, in characters.
const TEXT_MAX: usize = 200;

/// The payload of a signal; the first byte says of which.
///
/// What is read can be sent on and is read as the same again. What is not, and what the workflow
/// keeps of a text, is short enough for its history.
pub fn signal(bytes: &[u8]) {
    let Some((which, data)) = bytes.split_first() else { return };
    match which {
        b'c' => {
            if let Some(CancelRequest { reason }) = is_read_back(data) {
                assert!(short(&reason).chars().count() <= TEXT_MAX);
            }
        }
        b'p' => {
            is_read_back::<PartyUpdate>(data);
        }
        b'n' => {
            is_read_back::<PaymentReplaced>(data);
        }
        b'v' => {
            is_read_back::<Reviewed>(data);
        }
        b'r' => {
            if let Some(resolution) = is_read_back::<Resolution>(data) {
                decision(&resolution);
            }
        }
        _ => {}
    }
}

/// A decision that is taken says who decided and why.
fn decision(resolution: &Resolution) {
    let Ok(taken) = resolution.checked() else { return };
    for text in [&taken.by, &taken.why] {
        assert!((1..=TEXT_MAX).contains(&text.chars().count()));
    }
    assert!(taken.step.chars().count() <= TEXT_MAX);
    assert_eq!(taken.occurrence, resolution.occurrence);
}

fn is_read_back<T>(data: &[u8]) -> Option<T>
where
    T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug,
{
    let payload = Payload { data: data.to_vec(), ..Payload::default() };
    match read::<T>(RawValue::new(vec![payload])) {
        Ok(value) => {
            let sent = signal_payload(&value).map_err(|error| error.to_string());
            assert_eq!(sent.and_then(read::<T>).as_ref(), Ok(&value));
            Some(value)
        }
        Err(why) => {
            assert!(why.chars().count() <= TEXT_MAX);
            None
        }
    }
}
