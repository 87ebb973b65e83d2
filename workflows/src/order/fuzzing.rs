//! Entry points for fuzz targets: the decoders of the messages that the workflow receives. Compiled
//! only with `--cfg fuzzing`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use temporalio_common::data_converters::RawValue;
use temporalio_protos::temporal::api::common::v1::Payload;

use crate::order::signal_payload;
use crate::order::view::{
    CancelRequest, PartyUpdate, PaymentReplaced, Resolution, Reviewed, read, short,
};

/// The longest text of a caller that is kept in a history, in characters.
const TEXT_MAX: usize = 200;

/// Decodes the payload of a signal; the first byte selects the signal.
///
/// A payload that decodes must survive a round trip. Error texts, and texts that the workflow
/// keeps, must be short enough for its history.
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

/// An accepted decision says who decided and why.
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
