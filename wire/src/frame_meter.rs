//! Counts the frames of an HTTP/2 connection as their bytes go by, and says when there are more of a kind than anybody needs
//! (threats D 73 to 83).
//!
//! It reads nothing but the nine bytes in front of every frame (RFC 9113 section 4.1), and the error code of a reset. Budgets fill up
//! again with time and, where a frame answers to one of ours, with what we send; so a client that works is never short of them,
//! however long it stays.

/// What a client that opens a connection says first (RFC 9113 section 3.4).
const PREFACE_BYTES: u32 = 24;
/// How many CONTINUATION frames a header block may have beside those that its bytes need.
const CONTINUATIONS_MAX: u32 = 8;
/// A DATA frame that carries less and does not end its stream is one that costs more than it brings.
const SMALL_DATA: u32 = 64;
/// The error code of a reset after a complete answer: nothing has gone wrong.
const NO_ERROR: u32 = 0;
/// The error code of a reset by somebody who does not want to know any more.
const CANCEL: u32 = 8;
/// Header blocks that an upstream may send for a request: interim answers, the head, the trailers.
const BLOCKS_OF_ANSWER: u32 = 10;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

macro_rules! floods {
    ($($(#[doc = $doc:literal])+ $name:ident = $burst:literal, $refill:literal, $detail:literal;)+) => {
        /// A kind of frames, or of work, that a client asked too much of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Flood { $($(#[doc = $doc])+ $name,)+ }

        impl Flood {
            const ALL: &'static [Flood] = &[$(Flood::$name,)+];

            /// What came at once may be so many.
            const fn burst(self) -> u32 { match self { $(Flood::$name => $burst,)+ } }

            /// What comes all the time may be so many in a second.
            const fn refill(self) -> u32 { match self { $(Flood::$name => $refill,)+ } }

            /// For logs.
            #[must_use]
            pub const fn detail(self) -> &'static str { match self { $(Flood::$name => $detail,)+ } }
        }
    };
}

floods! {
    /// The client resets its streams (CVE-2023-44487).
    Resets = 200, 20, "more resets than allowed";
    /// The client makes us reset its streams (CVE-2025-8671).
    ProvokedResets = 200, 20, "more errors of streams than allowed";
    /// A header block in too many CONTINUATION frames (CVE-2024-27316 and others).
    Continuations = 64, 8, "more CONTINUATION frames than a header block needs";
    /// A header block with more bytes than a head may have.
    HeaderBlock = 1, 0, "a header block larger than any head may be";
    /// PING (CVE-2019-9512).
    Pings = 200, 10, "more PING frames than allowed";
    /// SETTINGS (CVE-2019-9515).
    Settings = 50, 1, "more SETTINGS frames than allowed";
    /// WINDOW_UPDATE, beyond those that what we sent calls for.
    WindowUpdates = 1000, 100, "more WINDOW_UPDATE frames than allowed";
    /// PRIORITY, and what else says nothing of a request (CVE-2019-9513).
    Priorities = 400, 20, "more PRIORITY or unknown frames than allowed";
    /// DATA without data (CVE-2019-9518).
    EmptyData = 100, 10, "more empty DATA frames than allowed";
    /// DATA with next to no data (CVE-2019-9511).
    SmallData = 10_000, 5_000, "more DATA frames with next to no data than allowed";
    /// Header blocks of an upstream, beyond those that the answers to its hundred streams have.
    Blocks = 2000, 10, "more header blocks than answers have";
}

/// What is left of a budget.
#[derive(Clone, Copy, Debug)]
struct Budget {
    left: u32,
    filled_ms: u64,
}

/// The head of a frame, with what of the payload was looked at.
#[derive(Clone, Copy, Debug)]
struct FrameHead {
    length: u32,
    kind: u8,
    flags: u8,
    /// The error code of RST_STREAM; the last stream of GOAWAY; the pad length of padded DATA.
    extra: u32,
}

/// Finds frame heads in one direction, however the bytes are cut.
#[derive(Clone, Copy, Debug, Default)]
struct Scanner {
    head: [u8; 13],
    have: u8,
    skip: u32,
}

impl Scanner {
    /// Takes bytes from the front of `bytes`, up to the next complete head.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<FrameHead> {
        loop {
            if self.skip > 0 {
                let here = bytes.len().min(self.skip as usize);
                self.skip -= here as u32;
                *bytes = bytes.get(here..).unwrap_or_default();
            }
            let (byte, rest) = bytes.split_first()?;
            *bytes = rest;
            if let Some(slot) = self.head.get_mut(usize::from(self.have)) {
                *slot = *byte;
            }
            self.have += 1;
            if self.have >= self.wanted() {
                return Some(self.complete());
            }
        }
    }

    fn parts(&self) -> (u32, u8, u8) {
        let [a, b, c, kind, flags, ..] = self.head;
        (u32::from_be_bytes([0, a, b, c]), kind, flags)
    }

    /// How many bytes the head has, with what is looked at of the payload.
    fn wanted(&self) -> u8 {
        if self.have < 9 {
            return 9;
        }
        match self.parts() {
            (4, RST_STREAM, _) | (8.., GOAWAY, _) => 13,
            (1.., DATA, flags) if flags & PADDED != 0 => 10,
            _ => 9,
        }
    }

    fn complete(&mut self) -> FrameHead {
        let (length, kind, flags) = self.parts();
        let [.., a, b, c, d] = self.head;
        let extra = match self.have {
            13 => u32::from_be_bytes([a, b, c, d]),
            10 => u32::from(a),
            _ => 0,
        };
        self.skip = length.saturating_sub(u32::from(self.have) - 9);
        self.have = 0;
        FrameHead { length, kind, flags, extra }
    }

    /// Whether part of a frame is here, and its end is not.
    fn is_inside(&self) -> bool {
        self.have > 0 || self.skip > 0
    }
}

/// A header block that has not ended.
#[derive(Clone, Copy, Debug)]
struct Block {
    since_ms: u64,
    bytes: u32,
    continuations: u32,
}

/// The meter of one connection.
#[derive(Clone, Debug)]
pub struct FrameMeter {
    incoming: Scanner,
    outgoing: Scanner,
    budgets: [Budget; Flood::ALL.len()],
    block: Option<Block>,
    block_bytes_max: u32,
    /// Whether the other side is an upstream.
    serves_us: bool,
    /// What its last GOAWAY said: the last stream that it has looked at.
    last_stream: Option<u32>,
}

impl FrameMeter {
    /// A meter for a client's connection, which begins with the preface at `now_ms`, a number of milliseconds that only grows. A header
    /// block may have `block_bytes_max` bytes as it comes, compressed.
    #[must_use]
    pub fn new(block_bytes_max: u32, now_ms: u64) -> Self {
        let mut budgets = [Budget { left: 0, filled_ms: now_ms }; Flood::ALL.len()];
        for (budget, flood) in budgets.iter_mut().zip(Flood::ALL) {
            budget.left = flood.burst();
        }
        let incoming = Scanner { skip: PREFACE_BYTES, ..Scanner::default() };
        let outgoing = Scanner::default();
        Self { incoming, outgoing, budgets, block: None, block_bytes_max, serves_us: false, last_stream: None }
    }

    /// A meter for a connection of ours to an upstream. Every request of ours gives the upstream an occasion to reset it, and what clients
    /// give up counts against nobody. Small DATA is not counted here: it may come for many clients at once, and whoever keeps it until it
    /// is wanted must bound how much of it there is.
    #[must_use]
    pub fn for_upstream(block_bytes_max: u32, now_ms: u64) -> Self {
        let meter = Self::new(block_bytes_max, now_ms);
        Self { incoming: meter.outgoing, outgoing: meter.incoming, serves_us: true, ..meter }
    }

    /// The last stream that the other side has looked at, once it has said that it goes away (RFC 9113 section 6.8).
    #[must_use]
    pub fn last_stream(&self) -> Option<u32> {
        self.last_stream
    }

    /// Looks at bytes that came.
    ///
    /// # Errors
    /// Which budget was exceeded. The connection is to be ended; the bytes are not to be used.
    pub fn incoming(&mut self, mut bytes: &[u8], now_ms: u64) -> Result<(), Flood> {
        while let Some(head) = self.incoming.next(&mut bytes) {
            self.frame_in(head, now_ms)?;
        }
        Ok(())
    }

    /// Looks at bytes that go.
    ///
    /// # Errors
    /// As [`FrameMeter::incoming`]: what we are made to send is bounded too.
    pub fn outgoing(&mut self, mut bytes: &[u8], now_ms: u64) -> Result<(), Flood> {
        while let Some(head) = self.outgoing.next(&mut bytes) {
            match head.kind {
                // What we send may be answered by the client: two windows grow with each frame, and each is an occasion to talk.
                DATA => {
                    self.earn(Flood::WindowUpdates, 4);
                    self.earn(Flood::SmallData, 1);
                    self.earn(Flood::Pings, u32::from(head.length > 0 && self.budget(Flood::Pings) < 50));
                }
                HEADERS if self.serves_us => {
                    self.earn(Flood::Resets, 1);
                    self.earn(Flood::EmptyData, 1);
                    self.earn(Flood::Blocks, BLOCKS_OF_ANSWER);
                }
                HEADERS => self.earn(Flood::Resets, u32::from(head.flags & END_STREAM != 0)),
                RST_STREAM if self.serves_us && head.extra == CANCEL => {}
                RST_STREAM if head.extra != NO_ERROR => self.take(Flood::ProvokedResets, now_ms)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Since when the end of a header block has been missing.
    #[must_use]
    pub fn header_block_since_ms(&self) -> Option<u64> {
        self.block.map(|block| block.since_ms)
    }

    /// Whether part of a frame has come, and its end has not.
    #[must_use]
    pub fn is_inside_frame(&self) -> bool {
        self.incoming.is_inside()
    }

    fn frame_in(&mut self, head: FrameHead, now_ms: u64) -> Result<(), Flood> {
        match head.kind {
            DATA if head.flags & END_STREAM == 0 => {
                let padding = if head.flags & PADDED != 0 { head.extra.saturating_add(1) } else { 0 };
                match head.length.saturating_sub(padding) {
                    0 => self.take(Flood::EmptyData, now_ms),
                    1..SMALL_DATA if self.serves_us => Ok(()),
                    1..SMALL_DATA => self.take(Flood::SmallData, now_ms),
                    _ => Ok(()),
                }
            }
            DATA => Ok(()),
            GOAWAY => {
                if head.length >= 8 {
                    let last = head.extra & (u32::MAX >> 1);
                    self.last_stream = Some(self.last_stream.map_or(last, |before| before.min(last)));
                }
                self.take(Flood::Priorities, now_ms)
            }
            HEADERS => {
                // A client that orders its streams says so once or twice for each.
                self.earn(Flood::Priorities, 2);
                self.earn(Flood::WindowUpdates, 2);
                if self.serves_us {
                    self.take(Flood::Blocks, now_ms)?;
                }
                self.block_begins(head, now_ms)
            }
            CONTINUATION => self.block_goes_on(head, now_ms),
            RST_STREAM => self.take(Flood::Resets, now_ms),
            SETTINGS => self.take(Flood::Settings, now_ms),
            PING => self.take(Flood::Pings, now_ms),
            WINDOW_UPDATE => self.take(Flood::WindowUpdates, now_ms),
            PRIORITY.. => self.take(Flood::Priorities, now_ms),
        }
    }

    fn block_begins(&mut self, head: FrameHead, now_ms: u64) -> Result<(), Flood> {
        if head.length > self.block_bytes_max {
            return Err(Flood::HeaderBlock);
        }
        let open = head.flags & END_HEADERS == 0;
        self.block = open.then_some(Block { since_ms: now_ms, bytes: head.length, continuations: 0 });
        Ok(())
    }

    fn block_goes_on(&mut self, head: FrameHead, now_ms: u64) -> Result<(), Flood> {
        // One without a block is the reader's to refuse; it ends the connection.
        let Some(mut block) = self.block else { return Ok(()) };
        block.bytes = block.bytes.saturating_add(head.length);
        block.continuations += 1;
        if block.bytes > self.block_bytes_max {
            return Err(Flood::HeaderBlock);
        }
        if block.continuations > CONTINUATIONS_MAX {
            return Err(Flood::Continuations);
        }
        self.take(Flood::Continuations, now_ms)?;
        self.block = (head.flags & END_HEADERS == 0).then_some(block);
        Ok(())
    }

    fn budget(&self, flood: Flood) -> u32 {
        self.budgets.get(flood as usize).map_or(0, |budget| budget.left)
    }

    fn earn(&mut self, flood: Flood, count: u32) {
        if let Some(budget) = self.budgets.get_mut(flood as usize) {
            budget.left = flood.burst().min(budget.left.saturating_add(count));
        }
    }

    /// Takes one of a budget. What time has added is only reckoned when nothing is left, so that the clock is seldom asked.
    fn take(&mut self, flood: Flood, now_ms: u64) -> Result<(), Flood> {
        let Some(budget) = self.budgets.get_mut(flood as usize) else { return Err(flood) };
        if budget.left == 0 {
            let passed = now_ms.saturating_sub(budget.filled_ms);
            let earned = u64::from(flood.refill()).saturating_mul(passed) / 1000;
            if earned == 0 {
                return Err(flood);
            }
            budget.left = flood.burst().min(u32::try_from(earned).unwrap_or(u32::MAX));
            budget.filled_ms = now_ms;
        }
        budget.left -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Flood, FrameMeter};

    const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn meter() -> FrameMeter {
        let mut meter = FrameMeter::new(32 * 1024, 0);
        meter.incoming(PREFACE, 0).unwrap();
        meter
    }

    /// How many of these frames are let by at one moment, and which budget ends it.
    fn let_by(frame: &[u8]) -> (usize, Flood) {
        let mut meter = meter();
        (0..100_000).find_map(|count| meter.incoming(frame, 0).err().map(|flood| (count, flood))).unwrap()
    }

    #[test]
    fn d80_every_flood_has_an_end() {
        for (bytes, flood, most) in [
            (frame(0, 0, &[]), Flood::EmptyData, 100),
            (frame(0, 8, &[3, 0, 0, 0]), Flood::EmptyData, 100),
            (frame(0, 0, &[7]), Flood::SmallData, 10_000),
            (frame(2, 0, &[0; 5]), Flood::Priorities, 400),
            (frame(3, 0, &[0, 0, 0, 8]), Flood::Resets, 200),
            (frame(4, 0, &[]), Flood::Settings, 50),
            (frame(4, 1, &[]), Flood::Settings, 50),
            (frame(6, 0, &[0; 8]), Flood::Pings, 200),
            (frame(6, 1, &[0; 8]), Flood::Pings, 200),
            (frame(8, 0, &[0, 0, 0, 1]), Flood::WindowUpdates, 1000),
            (frame(0xfe, 0, &[]), Flood::Priorities, 400),
        ] {
            assert_eq!(let_by(&bytes), (most, flood));
        }
    }

    #[test]
    fn d74_resets_that_we_are_made_to_send_count_and_orderly_ones_do_not() {
        let mut meter = meter();
        for _ in 0..10_000 {
            meter.outgoing(&frame(3, 0, &[0, 0, 0, 0]), 0).unwrap();
        }
        let count = (0..10_000).find(|_| meter.outgoing(&frame(3, 0, &[0, 0, 0, 1]), 0).is_err());
        assert_eq!(count, Some(200));
    }

    #[test]
    fn d76_a_header_block_is_bounded_in_bytes_frames_and_time() {
        let open = frame(1, 0, &[0; 10]);
        let mut meter = meter();
        meter.incoming(&open, 7).unwrap();
        assert_eq!(meter.header_block_since_ms(), Some(7));
        let empty = (0..100).find_map(|count| meter.incoming(&frame(9, 0, &[]), 7).err().map(|flood| (count, flood)));
        assert_eq!(empty, Some((8, Flood::Continuations)));
        let mut meter = self::meter();
        meter.incoming(&open, 0).unwrap();
        let big = (0..100).find_map(|count| meter.incoming(&frame(9, 0, &[0; 16_384]), 0).err().map(|flood| (count, flood)));
        assert_eq!(big, Some((1, Flood::HeaderBlock)));
        let mut meter = self::meter();
        meter.incoming(&open, 0).unwrap();
        meter.incoming(&frame(9, 4, &[]), 0).unwrap();
        assert_eq!(meter.header_block_since_ms(), None);
    }

    #[test]
    fn budgets_come_back_with_time_and_with_work() {
        let mut meter = meter();
        let ping = frame(6, 0, &[0; 8]);
        (0..200).for_each(|_| meter.incoming(&ping, 1).unwrap());
        assert!(meter.clone().incoming(&ping, 50).is_err());
        for tick in 1..1000 {
            assert_eq!(meter.incoming(&ping, 1 + tick * 100), Ok(()), "one in a tenth of a second is what is earned");
        }
        let mut meter = self::meter();
        for _ in 0..100_000 {
            meter.outgoing(&frame(0, 0, &[0; 100]), 0).unwrap();
            meter.incoming(&frame(8, 0, &[0, 0, 0, 9]), 0).unwrap();
            meter.incoming(&frame(8, 0, &[0, 0, 0, 9]), 0).unwrap();
        }
    }

    #[test]
    fn d80_an_upstream_may_answer_what_was_asked_and_no_more() {
        let mut meter = FrameMeter::for_upstream(1024, 0);
        meter.outgoing(PREFACE, 0).unwrap();
        let (request, head, reset) = (frame(1, 5, &[0; 3]), frame(1, 4, &[0; 3]), frame(3, 0, &[0, 0, 0, 8]));
        for _ in 0..10_000 {
            meter.outgoing(&request, 0).unwrap();
            (0..10).for_each(|_| meter.incoming(&head, 0).unwrap());
            meter.incoming(&reset, 0).unwrap();
            meter.incoming(&frame(0, 0, &[7]), 0).unwrap();
            meter.outgoing(&reset, 0).unwrap();
        }
        let let_by = |bytes: &[u8]| {
            let mut meter = FrameMeter::for_upstream(1024, 0);
            (0..100_000).find_map(|count| meter.incoming(bytes, 0).err().map(|flood| (count, flood))).unwrap()
        };
        assert_eq!((let_by(&head), let_by(&reset)), ((2000, Flood::Blocks), (200, Flood::Resets)));
        assert_eq!(let_by(&frame(7, 0, &[0, 0, 0, 9, 0, 0, 0, 0])), (400, Flood::Priorities));
    }

    #[test]
    fn the_last_stream_of_an_upstream_that_goes_away_only_sinks() {
        let mut meter = FrameMeter::for_upstream(1024, 0);
        let mut last = |id: u8| {
            meter.incoming(&frame(7, 0, &[0x80, 0, 0, id, 0, 0, 0, 0]), 0).unwrap();
            meter.last_stream()
        };
        assert_eq!((last(9), last(5), last(7)), (Some(9), Some(5), Some(5)));
        assert_eq!(FrameMeter::for_upstream(1024, 0).last_stream(), None);
    }

    #[test]
    fn frames_are_the_same_however_the_bytes_are_cut() {
        let stream = [PREFACE.as_slice(), &frame(4, 0, &[0; 6]), &frame(0, 8, &[2, 9, 0, 0]), &frame(3, 0, &[0, 0, 0, 8])].concat();
        for piece in 1..stream.len() {
            let mut meter = FrameMeter::new(1024, 0);
            for part in stream.chunks(piece) {
                meter.incoming(part, 0).unwrap();
            }
            let left = [Flood::Settings, Flood::SmallData, Flood::Resets].map(|flood| flood.burst() - meter.budget(flood));
            assert_eq!((left, meter.is_inside_frame()), ([1, 1, 1], false), "in pieces of {piece}");
        }
    }
}
