//! Access logs, read a line at a time: whatever their size, one line is held.

use portcullis_model_settings::Date;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// The longest line that is read; what is longer is no record of ours.
const LINE_BYTES_MAX: u64 = 256 * 1024;
/// How often progress is shown to people who wait.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// Lines between looks at the time.
const LINES_BETWEEN: u64 = 4096;

/// What counts of a record.
#[derive(Deserialize)]
pub struct Record {
    time: String,
    /// The API.
    pub api: Option<String>,
    /// The route, if one was found.
    pub route: Option<String>,
    /// The method.
    #[serde(default)]
    pub method: String,
    /// The host.
    #[serde(default)]
    pub host: String,
    /// The path.
    #[serde(default)]
    pub path: String,
    /// Who vouched for the caller.
    pub provider: Option<String>,
    /// The client of a token, or the id of a key.
    pub principal_client: Option<String>,
    /// The consumer.
    pub consumer: Option<String>,
    /// The line of `allow`, from 1; nothing when none let the caller through.
    pub allow_line: Option<u16>,
    /// Roles of the line that the caller had; nothing when the record does not tell.
    pub allow_roles: Option<Vec<String>>,
    /// Scopes of the line.
    #[serde(default)]
    pub allow_scopes: Vec<String>,
}

impl Record {
    /// When it was, in seconds since the Unix epoch.
    fn unix_seconds(&self) -> Option<u64> {
        let (day, time) = (self.time.get(..10)?, self.time.get(11..19)?);
        let mut parts = time.split(':').map(|part| part.parse::<u64>().ok());
        let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
        Some(Date::parse(day)?.unix_seconds() + hours * 3600 + minutes * 60 + seconds)
    }
}

/// What was read.
#[derive(Debug, Default)]
pub struct Reading {
    /// Records.
    pub records: u64,
    /// Lines that are no records.
    pub not_understood: u64,
    /// The first of them.
    pub first_not_understood: Option<String>,
}

/// Reads every file, and hands each record on with its time.
///
/// # Errors
/// When a file cannot be read, or nothing in them is a record.
pub fn read(files: &[PathBuf], mut with: impl FnMut(&Record, u64)) -> Result<Reading, String> {
    let mut read = Reading::default();
    let standard_input = [PathBuf::from("-")];
    let files = if files.is_empty() { &standard_input[..] } else { files };
    let mut progress = Progress::over(files);
    for path in files {
        if path.as_os_str() == "-" {
            read_one(path, &mut io::stdin().lock(), &mut read, &mut progress, &mut with)?;
        } else {
            let file = File::open(path).map_err(|error| described(path, &error))?;
            read_one(path, &mut BufReader::with_capacity(1 << 18, file), &mut read, &mut progress, &mut with)?;
        }
    }
    progress.end();
    match (&read.first_not_understood, read.records) {
        (Some(first), 0) => Err(format!("{first}: this is no access log of the gateway; nothing in it is a record")),
        _ => Ok(read),
    }
}

fn described(path: &Path, error: &io::Error) -> String {
    format!("`{}` cannot be read: {error}", path.display())
}

fn read_one(
    path: &Path,
    from: &mut impl BufRead,
    read: &mut Reading,
    progress: &mut Progress,
    with: &mut impl FnMut(&Record, u64),
) -> Result<(), String> {
    let failed = |error: io::Error| described(path, &error);
    if from.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]) {
        let shown = path.display();
        return Err(format!("`{shown}` is compressed; hand it on unpacked: `zcat {shown} | portcullis advise … -`"));
    }
    let (mut line, mut number) = (Vec::new(), 0_u64);
    loop {
        line.clear();
        let length = from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(failed)?;
        if length == 0 {
            return Ok(());
        }
        number += 1;
        progress.add(length as u64, read.records);
        if line.last() != Some(&b'\n') && length as u64 == LINE_BYTES_MAX {
            skip_line(from).map_err(failed)?;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let record = serde_json::from_slice::<Record>(&line).ok();
        match record.as_ref().and_then(|record| Some((record, record.unix_seconds()?))) {
            Some((record, at)) => {
                read.records += 1;
                with(record, at);
            }
            None => {
                read.not_understood += 1;
                read.first_not_understood.get_or_insert_with(|| format!("{}:{number}", path.display()));
            }
        }
    }
}

fn skip_line(from: &mut impl BufRead) -> io::Result<()> {
    loop {
        let (length, ends) = {
            let there = from.fill_buf()?;
            let end = there.iter().position(|byte| *byte == b'\n');
            (end.map_or(there.len(), |at| at + 1), end.is_some() || there.is_empty())
        };
        from.consume(length);
        if ends {
            return Ok(());
        }
    }
}

/// Shown on standard error while people wait, where they can see it.
struct Progress {
    total: Option<u64>,
    done: u64,
    lines: u64,
    shown: Option<Instant>,
    begun: Instant,
    seen: bool,
}

impl Progress {
    fn over(files: &[PathBuf]) -> Self {
        let total =
            files.iter().map(|path| std::fs::metadata(path).ok().filter(|about| about.is_file()).map(|about| about.len())).sum();
        Self { total, done: 0, lines: 0, shown: None, begun: Instant::now(), seen: io::stderr().is_terminal() }
    }

    fn add(&mut self, bytes: u64, records: u64) {
        self.done += bytes;
        self.lines += 1;
        if self.seen && self.lines.is_multiple_of(LINES_BETWEEN) && self.shown.unwrap_or(self.begun).elapsed() >= SHOW_EVERY {
            self.shown = Some(Instant::now());
            let of = self.total.map_or_else(String::new, |total| format!(" of {} MB", total >> 20));
            let _nobody_sees = write!(io::stderr(), "\rread {} MB{of}, {records} records ", self.done >> 20);
        }
    }

    fn end(&self) {
        if self.shown.is_some() {
            let _nobody_sees = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::read;
    use std::path::PathBuf;

    type Seen = (Vec<(Option<String>, u64)>, u64, Option<String>);

    fn lines(text: &[u8]) -> Result<Seen, String> {
        let folder = std::env::temp_dir().join(format!("portcullis-advise-{}-{:x}", std::process::id(), text.len()));
        std::fs::create_dir_all(&folder).unwrap();
        let path: PathBuf = folder.join("access.log");
        std::fs::write(&path, text).unwrap();
        let mut seen = Vec::new();
        let read = read(std::slice::from_ref(&path), |record, at| seen.push((record.route.clone(), at)));
        std::fs::remove_dir_all(&folder).unwrap();
        let read = read?;
        let first = read.first_not_understood.map(|first| first.rsplit('/').next().unwrap_or_default().to_owned());
        Ok((seen, read.not_understood, first))
    }

    #[test]
    fn what_is_no_record_is_counted_and_the_rest_is_read() {
        let good = r#"{"time":"1970-01-02T00:01:01.000001Z","route":"a"}"#;
        let long = "x".repeat(600_000);
        let text = format!("{good}\n\nnonsense\n{{\"time\":\"yesterday\"}}\n{long}\n{good}");
        let (seen, not_understood, first) = lines(text.as_bytes()).unwrap();
        let one = (Some("a".to_owned()), 86_400 + 61);
        assert_eq!((seen, not_understood, first), (vec![one.clone(), one], 3, Some("access.log:3".to_owned())));
        assert!(lines(b"nonsense\n").unwrap_err().contains("access.log:1: this is no access log"));
        assert!(lines(b"\x1f\x8b\x08").unwrap_err().contains("zcat"));
        assert!(read(&[PathBuf::from("/nowhere/access.log")], |_, _| ()).unwrap_err().contains("cannot be read"));
    }
}
