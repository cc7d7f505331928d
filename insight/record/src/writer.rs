//! The log as it is written: lines wait in a bounded buffer until their target takes them.

use crate::encode::Encoder;
use crate::file::LogFile;
use crate::recorder::AccessLog;
use portcullis_model::DecisionRecord;
use std::io::{self, Write};

/// Lines that wait while the log cannot be written, in bytes; what comes beyond that is lost and counted.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// So many bytes are written at once, even before the tick is over.
const BATCH_BYTES: usize = 256 * 1024;

/// The log being written.
pub(crate) struct LogWriter {
    target: Target,
    encoder: Encoder,
    waiting: Vec<u8>,
    /// Whether the target ends in the middle of a line, whose rest is at the front of what waits.
    is_cut: bool,
    /// Lines lost so far.
    pub(crate) lost_lines: u64,
    /// Why the last write failed; nothing once one succeeds.
    pub(crate) trouble: Option<String>,
}

enum Target {
    Off,
    Stdout,
    File(LogFile),
}

impl Target {
    fn of(log: &AccessLog) -> Self {
        match log {
            AccessLog::Off => Self::Off,
            AccessLog::Stdout => Self::Stdout,
            AccessLog::File { path, rotate } => Self::File(LogFile::new(path.clone(), *rotate)),
        }
    }
}

impl LogWriter {
    pub(crate) fn new(log: &AccessLog) -> Self {
        Self {
            target: Target::of(log),
            encoder: Encoder::default(),
            waiting: Vec::new(),
            is_cut: false,
            lost_lines: 0,
            trouble: None,
        }
    }

    /// Whether lines go anywhere.
    pub(crate) fn is_on(&self) -> bool {
        !matches!(self.target, Target::Off)
    }

    /// Adds a line. When there is no room for it, it is lost and counted.
    pub(crate) fn push(&mut self, record: &DecisionRecord) {
        if !self.is_on() {
            return;
        }
        if self.waiting.len() >= WAITING_BYTES_MAX {
            self.lost_lines += 1;
            return;
        }
        self.encoder.push_line(&mut self.waiting, record);
        // While there is trouble, trying again at each tick is enough.
        if self.waiting.len() >= BATCH_BYTES && self.trouble.is_none() {
            self.flush();
        }
    }

    /// Writes what waits. What cannot be written goes on waiting.
    pub(crate) fn flush(&mut self) {
        let before = self.waiting.len();
        let last_of = |waiting: &[u8], written: usize| waiting.get(written.checked_sub(1)?).copied();
        let (written, outcome) = match &mut self.target {
            Target::Off => (0, Ok(())),
            Target::Stdout => write_some(&mut io::stdout().lock(), &self.waiting),
            Target::File(file) => file.write(&self.waiting, self.is_cut),
        };
        debug_assert!(written <= before, "only what waits is written");
        if let Some(last) = last_of(&self.waiting, written) {
            self.is_cut = last != b'\n';
        }
        self.waiting.drain(..written);
        if self.waiting.is_empty() {
            self.waiting.shrink_to(2 * BATCH_BYTES);
        }
        self.trouble = outcome.err().map(|error| error.to_string());
    }

    /// Sends lines elsewhere from now on. What waits goes to the old place if it can, else to the new one.
    pub(crate) fn retarget(&mut self, log: &AccessLog) {
        self.flush();
        self.leave_line();
        self.target = Target::of(log);
        if !self.is_on() {
            self.lose_waiting();
        }
    }

    /// Opens the file anew, for those who have renamed it.
    pub(crate) fn reopen(&mut self) {
        self.flush();
        self.begin_file();
    }

    /// Notices that the file has been renamed or removed by somebody, and begins a new one.
    pub(crate) fn check_moved(&mut self) {
        if let Target::File(file) = &self.target
            && file.is_moved()
        {
            self.begin_file();
        }
    }

    /// Writes what it can for the last time.
    pub(crate) fn finish(&mut self) {
        self.flush();
        self.lose_waiting();
    }

    fn begin_file(&mut self) {
        self.leave_line();
        if let Target::File(file) = &mut self.target {
            file.close();
            self.flush();
        }
    }

    /// Gives up the rest of a line whose beginning is elsewhere: it would make two broken lines of one.
    fn leave_line(&mut self) {
        if std::mem::take(&mut self.is_cut) {
            let rest = self.waiting.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            self.waiting.drain(..rest);
            self.lost_lines += 1;
        }
    }

    fn lose_waiting(&mut self) {
        self.lost_lines += self.waiting.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.waiting = Vec::new();
    }
}

/// Writes from the front of `waiting`, and says how much.
pub(crate) fn write_some(to: &mut impl Write, waiting: &[u8]) -> (usize, io::Result<()>) {
    let mut rest = waiting;
    let outcome = loop {
        if rest.is_empty() {
            break to.flush();
        }
        match to.write(rest) {
            Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    (waiting.len() - rest.len(), outcome)
}

#[cfg(test)]
mod tests {
    use super::{LogWriter, WAITING_BYTES_MAX};
    use crate::recorder::{AccessLog, Rotation};
    use portcullis_model::DecisionRecord;
    use std::path::{Path, PathBuf};

    /// A folder that goes away with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("portcullis-log-{name}-{}", std::process::id()));
            let _fresh = std::fs::remove_dir_all(&folder);
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn log(&self) -> PathBuf {
            self.0.join("access.log")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _gone = std::fs::remove_dir_all(&self.0);
        }
    }

    fn to(path: &Path, rotate: Option<Rotation>) -> LogWriter {
        LogWriter::new(&AccessLog::File { path: path.to_owned(), rotate })
    }

    fn push(writer: &mut LogWriter, path: &str) {
        let mut record = DecisionRecord::default();
        record.note_request(b"GET", b"a.test", path.as_bytes(), None, None);
        writer.push(&record);
    }

    fn write(writer: &mut LogWriter, path: &str) {
        push(writer, path);
        writer.flush();
    }

    /// The paths of the lines of a file, each of which must be whole.
    fn paths(file: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(file).unwrap();
        let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["path"].as_str().unwrap().to_owned();
        text.lines().map(line).collect()
    }

    #[test]
    fn a_renamed_log_is_begun_anew() {
        let folder = Folder::new("renamed");
        let path = folder.log();
        let mut writer = to(&path, None);
        write(&mut writer, "/1");
        let moved = path.with_extension("old");
        std::fs::rename(&path, &moved).unwrap();
        write(&mut writer, "/2");
        writer.check_moved();
        write(&mut writer, "/3");
        assert_eq!((paths(&moved), paths(&path)), (vec!["/1".into(), "/2".into()], vec!["/3".into()]));
        writer.check_moved();
        write(&mut writer, "/4");
        assert_eq!(paths(&path), ["/3", "/4"]);
    }

    #[test]
    fn a_renamed_log_is_begun_anew_at_once_when_told() {
        let folder = Folder::new("reopened");
        let path = folder.log();
        let mut writer = to(&path, None);
        write(&mut writer, "/1");
        std::fs::rename(&path, path.with_extension("old")).unwrap();
        writer.reopen();
        assert!(path.exists(), "who rotates waits for the new file");
        write(&mut writer, "/2");
        assert_eq!(paths(&path), ["/2"]);
    }

    #[test]
    fn a_truncated_log_goes_on_from_its_new_end() {
        let folder = Folder::new("truncated");
        let path = folder.log();
        let mut writer = to(&path, None);
        write(&mut writer, "/1");
        std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        write(&mut writer, "/2");
        assert_eq!(paths(&path), ["/2"]);
    }

    #[test]
    fn own_rotation_keeps_so_many_files_of_whole_lines() {
        let folder = Folder::new("rotated");
        let path = folder.log();
        let mut writer = to(&path, Some(Rotation { bytes: 2000, keep: 2 }));
        // All at once: rotation must also happen inside of what is written together.
        for number in 0..40 {
            push(&mut writer, &format!("/{number}"));
        }
        writer.flush();
        let all: Vec<String> = ["access.log.2", "access.log.1", "access.log"]
            .into_iter()
            .flat_map(|name| {
                let file = path.with_file_name(name);
                assert!(std::fs::metadata(&file).unwrap().len() <= 2000, "{name}");
                paths(&file)
            })
            .collect();
        let last: Vec<String> = (40 - all.len()..40).map(|number| format!("/{number}")).collect();
        assert_eq!(all, last, "the youngest lines, in order");
        assert!(!path.with_file_name("access.log.3").exists() && all.len() > 6);
    }

    #[test]
    fn a_line_longer_than_a_file_may_be_is_written_all_the_same() {
        let folder = Folder::new("long");
        let path = folder.log();
        let mut writer = to(&path, Some(Rotation { bytes: 10, keep: 1 }));
        write(&mut writer, "/1");
        write(&mut writer, "/2");
        assert_eq!((paths(&path.with_file_name("access.log.1")), paths(&path)), (vec!["/1".into()], vec!["/2".into()]));
    }

    #[test]
    fn what_is_no_plain_file_is_never_rotated() {
        let mut writer = to(Path::new("/dev/null"), Some(Rotation { bytes: 10, keep: 1 }));
        write(&mut writer, "/1");
        write(&mut writer, "/2");
        assert_eq!((writer.trouble, writer.lost_lines), (None, 0));
        assert!(!Path::new("/dev/null.1").exists());
    }

    #[test]
    fn a_full_disk_loses_lines_but_no_memory_and_is_told() {
        let mut writer = to(Path::new("/dev/full"), None);
        let long = format!("/{}", "x".repeat(4096));
        for _ in 0..3000 {
            write(&mut writer, &long);
        }
        assert!(writer.trouble.is_some() && writer.lost_lines > 1500);
        assert!(writer.waiting.len() <= WAITING_BYTES_MAX + 8192, "{}", writer.waiting.len());
    }

    #[test]
    fn lines_that_waited_are_written_when_it_works_again() {
        let folder = Folder::new("back");
        let path = folder.0.join("later").join("access.log");
        // A file where the folder should be: nothing can be opened.
        std::fs::write(path.parent().unwrap(), "").unwrap();
        let mut writer = to(&path, None);
        write(&mut writer, "/1");
        assert!(writer.trouble.is_some());
        std::fs::remove_file(path.parent().unwrap()).unwrap();
        write(&mut writer, "/2");
        assert_eq!((paths(&path), writer.trouble, writer.lost_lines), (vec!["/1".into(), "/2".into()], None, 0));
    }

    #[test]
    fn a_line_that_was_cut_is_completed_where_it_began_or_given_up() {
        let folder = Folder::new("cut");
        let (old, new) = (folder.0.join("old.log"), folder.0.join("new.log"));
        let mut writer = to(&old, None);
        push(&mut writer, "/1");
        push(&mut writer, "/2");
        // As a disk that becomes full in the middle of the first line leaves it.
        let begun = writer.waiting.drain(..10).collect::<Vec<u8>>();
        std::fs::write(&old, &begun).unwrap();
        writer.is_cut = true;
        let waiting = writer.waiting.clone();
        writer.flush();
        assert_eq!(paths(&old), ["/1", "/2"]);
        assert!(!writer.is_cut);
        // And with the old place gone for good.
        let mut writer = to(Path::new("/dev/full"), None);
        (writer.waiting, writer.is_cut) = (waiting, true);
        writer.retarget(&AccessLog::File { path: new.clone(), rotate: None });
        writer.flush();
        assert_eq!((paths(&new), writer.lost_lines), (vec!["/2".into()], 1));
    }

    #[test]
    fn lines_that_nobody_takes_any_more_are_counted() {
        let mut writer = to(Path::new("/dev/full"), None);
        write(&mut writer, "/1");
        write(&mut writer, "/2");
        writer.retarget(&AccessLog::Off);
        push(&mut writer, "/3");
        writer.finish();
        assert_eq!(writer.lost_lines, 2);
    }
}
