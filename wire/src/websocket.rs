//! Where the frames of a WebSocket begin and end (RFC 6455 section 5.2), so that one of the gateway's own can be put between two of them.

/// Says that an endpoint ends the connection because of what its rules say (RFC 6455 section 7.4.1).
pub const POLICY_VIOLATION: u16 = 1008;
/// Says that an endpoint goes away (RFC 6455 section 7.4.1).
pub const GOING_AWAY: u16 = 1001;

/// The longest reason that fits into a control frame beside its code (RFC 6455 section 5.5).
const REASON_BYTES_MAX: usize = 123;
const FINAL_CLOSE: u8 = 0x88;
const OPCODE: u8 = 0x0f;
const CLOSE: u8 = 0x08;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

/// Follows the frames of one direction as their bytes go by. It reads the first bytes of each and nothing of what they carry.
#[derive(Debug, Default)]
pub struct WebsocketFrames {
    state: State,
    closed: bool,
}

#[derive(Debug, Default)]
enum State {
    /// Between two frames.
    #[default]
    Between,
    /// Behind the first byte.
    Second,
    /// Within a length of so many bytes more.
    Length { left: u8, value: u64, masked: bool },
    /// Before so many bytes of mask and payload.
    Payload(u64),
}

impl WebsocketFrames {
    /// Goes over the next bytes.
    pub fn pass(&mut self, bytes: &[u8]) {
        let mut rest = bytes.iter();
        while let Some(&byte) = rest.next() {
            self.state = match self.state {
                State::Between => {
                    self.closed |= byte & OPCODE == CLOSE;
                    State::Second
                }
                State::Second => match (byte & LENGTH, byte & MASKED != 0) {
                    (126, masked) => State::Length { left: 2, value: 0, masked },
                    (127, masked) => State::Length { left: 8, value: 0, masked },
                    (length, masked) => State::payload(u64::from(length), masked),
                },
                State::Length { left, value, masked } => match (left, value << 8 | u64::from(byte)) {
                    (1, value) => State::payload(value, masked),
                    (_, value) => State::Length { left: left - 1, value, masked },
                },
                State::Payload(left) => {
                    let more = left.saturating_sub(1).min(rest.len() as u64);
                    rest = rest.as_slice().get(more as usize..).unwrap_or_default().iter();
                    State::payload(left.saturating_sub(1 + more), false)
                }
            };
        }
    }

    /// Whether another frame may come now: the last one is whole, and none has closed the connection.
    #[must_use]
    pub fn takes_another(&self) -> bool {
        matches!(self.state, State::Between) && !self.closed
    }
}

impl State {
    fn payload(length: u64, masked: bool) -> Self {
        match length.saturating_add(if masked { 4 } else { 0 }) {
            0 => Self::Between,
            left => Self::Payload(left),
        }
    }
}

/// A frame by which a server closes a WebSocket. A reason that is too long for it is left out.
#[must_use]
pub fn websocket_close(code: u16, reason: &str) -> Vec<u8> {
    let reason = if reason.len() > REASON_BYTES_MAX { "" } else { reason };
    let mut frame = vec![FINAL_CLOSE, reason.len() as u8 + 2];
    frame.extend_from_slice(&code.to_be_bytes());
    frame.extend_from_slice(reason.as_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::{WebsocketFrames, websocket_close};

    /// A frame of text with so many bytes.
    fn text(length: usize, mask: bool) -> Vec<u8> {
        let bit = if mask { 0x80 } else { 0 };
        let mut frame = vec![0x81];
        match length {
            0..126 => frame.push(bit | length as u8),
            126..65536 => {
                frame.push(bit | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                frame.push(bit | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        // What looks like a frame inside of one is none.
        frame.resize(frame.len() + length + if mask { 4 } else { 0 }, 0x88);
        frame
    }

    #[test]
    fn another_frame_goes_between_two_whole_ones_however_they_are_cut() {
        for length in [0, 1, 125, 126, 127, 65535, 65536, 70000] {
            for mask in [false, true] {
                let frame = text(length, mask);
                for cut in (1..frame.len()).take(20).chain([frame.len() - 1]).filter(|cut| *cut < frame.len()) {
                    let mut frames = WebsocketFrames::default();
                    assert!(frames.takes_another());
                    frames.pass(&frame[..cut]);
                    assert!(!frames.takes_another(), "{length} {mask} {cut}");
                    frames.pass(&frame[cut..]);
                    assert!(frames.takes_another(), "{length} {mask} {cut}");
                }
                let mut frames = WebsocketFrames::default();
                frames.pass(&[frame.as_slice(), &frame, &[0x81]].concat());
                assert!(!frames.takes_another());
            }
        }
    }

    #[test]
    fn a_length_beyond_every_payload_overflows_nothing() {
        let mut frames = WebsocketFrames::default();
        frames.pass(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
        assert!(!frames.takes_another());
    }

    #[test]
    fn nothing_follows_a_close() {
        let close = websocket_close(1008, "out");
        assert_eq!(close, b"\x88\x05\x03\xf0out");
        let mut frames = WebsocketFrames::default();
        frames.pass(&close);
        assert!(!frames.takes_another());
        assert_eq!(websocket_close(1001, &"a".repeat(124)), b"\x88\x02\x03\xe9");
        assert_eq!(websocket_close(1001, &"a".repeat(123)).len(), 127);
    }
}
