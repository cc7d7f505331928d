//! How these tests read and write heads.

use portcullis_model::Reason;
use portcullis_wire::{HeadFinder, HeadLimits, RequestHead, WireError};

/// Finds and parses the head that `bytes` begin with; they must hold a whole one or be refused.
pub(crate) fn read_within(bytes: &[u8], limits: &HeadLimits) -> Result<RequestHead, WireError> {
    let Some(length) = HeadFinder::default().find(bytes, limits)? else { panic!("no whole head in {bytes:?}") };
    let mut head = RequestHead::default();
    head.parse(&bytes[..length], limits)?;
    Ok(head)
}

pub(crate) fn read(bytes: impl AsRef<[u8]>) -> Result<RequestHead, WireError> {
    read_within(bytes.as_ref(), &HeadLimits::default())
}

/// The reason for which a head is refused.
pub(crate) fn refusal(bytes: impl AsRef<[u8]>) -> Option<Reason> {
    read(bytes).err().map(|error| error.reason)
}

/// A POST with these field lines.
pub(crate) fn post(lines: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n\r\n")
}

/// A GET for this target.
pub(crate) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n")
}

/// What goes upstream of a head, hygiene done.
pub(crate) fn sent(head: &RequestHead) -> String {
    let mut head = head.clone();
    head.strip_untrusted();
    let mut out = Vec::new();
    head.write_to(&mut out);
    String::from_utf8(out).unwrap()
}

/// Asserts that each of the heads is refused for the reason.
pub(crate) fn each_is_refused(reason: Reason, heads: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    for head in heads {
        let begin = String::from_utf8_lossy(head.as_ref()).chars().take(300).collect::<String>();
        assert_eq!(refusal(&head), Some(reason), "{begin}");
    }
}
