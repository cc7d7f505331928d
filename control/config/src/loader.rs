//! Loads a configuration again and again, doing only what changed.

use crate::check::{ApiCache, Checker, check};
use crate::digest::Digest;
use crate::later::LATER;
use crate::plan::Plan;
use crate::report::{Finding, Report, RoutePlace};
use crate::settings::{AccessSettings, ConfigFile};
use crate::source::{Caps, Source, Unreadable, folder_of, list, read_all, too_large};
use portcullis_model::Clock;
use portcullis_model_settings::{Decode, Diagnostic, Diagnostics, FileId, PolicySchema, Severity};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Loads the configuration at `path` once: a file, or a folder of `*.yaml` files.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path, policies: &[PolicySchema], clock: &Clock) -> Result<Plan, Report> {
    Loader::new(path, policies, clock.clone()).load()
}

/// Checks a configuration that is not in a file yet; findings call it `name`, relative paths start where the process runs.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_text(name: &str, text: &[u8], policies: &[PolicySchema], clock: &Clock) -> Result<Plan, Report> {
    let caps = Caps::default();
    let path = PathBuf::from(name);
    if text.len() as u64 > caps.file_bytes_max {
        return Err(unreadable(vec![too_large(&path, caps.file_bytes_max)]));
    }
    let source = Source { digest: Digest::of(text), bytes: text.to_vec(), path };
    Loader::new("", policies, clock.clone()).load_sources(&[source])
}

/// Loads one configuration whenever asked. Keeps the decoded form of files by their content and the plans of APIs, so that a reload does
/// work only for what changed.
#[derive(Debug)]
pub struct Loader {
    path: PathBuf,
    policies: Arc<[PolicySchema]>,
    clock: Clock,
    caps: Caps,
    files: HashMap<PathBuf, Known>,
    order: Vec<PathBuf>,
    apis: ApiCache,
}

/// A file that was decoded.
struct Known {
    id: FileId,
    digest: Digest,
    config: Option<ConfigFile>,
    diagnostics: Diagnostics,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Known({:?}, {})", self.id, self.digest)
    }
}

impl Loader {
    /// Loads nothing yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, policies: &[PolicySchema], clock: Clock) -> Self {
        Self {
            path: path.into(),
            policies: policies.into(),
            clock,
            caps: Caps::default(),
            files: HashMap::new(),
            order: Vec::new(),
            apis: ApiCache::default(),
        }
    }

    /// The same with other bounds.
    #[must_use]
    pub fn with_caps(mut self, caps: Caps) -> Self {
        self.caps = caps;
        self
    }

    /// What to watch for changes: the path itself, and the files read last.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let mut watched = vec![self.path.clone()];
        watched.extend(self.order.iter().filter(|file| **file != self.path).cloned());
        watched.extend(self.apis.policies.files().cloned());
        watched
    }

    /// Reads, decodes and checks. What was loaded before stays what it was, whatever comes of it.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration, not only the first thing.
    pub fn load(&mut self) -> Result<Plan, Report> {
        let sources = list(&self.path, &self.caps).and_then(|paths| read_all(paths, &self.caps)).map_err(unreadable)?;
        self.load_sources(&sources)
    }

    /// Where routes are written in the configuration loaded last, for those `wanted`, each by the name of its API and its own.
    #[must_use]
    pub fn route_places(&self, wanted: &HashSet<(&str, &str)>) -> HashMap<(String, String), RoutePlace> {
        let mut places = HashMap::with_capacity(wanted.len());
        if wanted.is_empty() {
            return places;
        }
        for (path, config) in self.files.iter().filter_map(|(path, known)| Some((path, known.config.as_ref()?))) {
            let file: Arc<str> = path.to_string_lossy().into();
            for part in &config.apis.0 {
                for (at, route) in part.value.iter().flat_map(|api| &api.routes.0) {
                    let (api, name): (&str, &str) = (&part.name.value, &route.name.value);
                    if !wanted.contains(&(api, name)) {
                        continue;
                    }
                    let (position, width) = (route.name.position, route.name.width);
                    let path = format!("/apis/{api}/routes/{at}");
                    let (file, line, column, allow_lines) =
                        (Arc::clone(&file), position.line, position.column, lines_of(&route.access));
                    let place = RoutePlace { file, line, column, width, path, allow_lines };
                    places.insert((api.to_owned(), name.to_owned()), place);
                }
            }
        }
        places
    }

    fn load_sources(&mut self, sources: &[Source]) -> Result<Plan, Report> {
        self.decode(sources);
        let names: HashMap<FileId, Arc<str>> =
            sources.iter().filter_map(|s| Some((self.files.get(&s.path)?.id, s.path.to_string_lossy().into()))).collect();
        let known: Vec<&Known> = sources.iter().filter_map(|source| self.files.get(&source.path)).collect();
        let mut diagnostics = Diagnostics::new(Arc::clone(&self.policies), LATER);
        known.iter().for_each(|file| diagnostics.extend(&file.diagnostics));
        let configs: Vec<&ConfigFile> = known.iter().filter_map(|file| file.config.as_ref()).collect();
        // A file that is not even YAML would make every name in it look unknown elsewhere.
        let plan = if configs.len() == known.len() {
            let top = known.first().map(|file| file.id).unwrap_or_default();
            let folder = folder_of(&self.path);
            let checker = Checker::new(&mut diagnostics, &names, top, &folder, self.clock.unix_seconds());
            check(&configs, &self.policies, &mut self.apis, checker)
        } else {
            None
        };
        let mut report = self.report(&diagnostics, sources);
        let in_policies = self.apis.policies.take_findings();
        let is_sound = !diagnostics.has_errors() && in_policies.is_empty();
        if !in_policies.is_empty() {
            // Warnings are about a configuration that loads.
            report.findings.retain(|finding| finding.severity == Severity::Error);
        }
        report.findings.extend(in_policies);
        match plan {
            Some(mut plan) if is_sound => {
                plan.warnings = report.findings;
                self.apis.keep(&plan);
                Ok(plan)
            }
            _ => Err(report),
        }
    }

    /// Decodes the files that are new or changed and forgets those that are gone.
    fn decode(&mut self, sources: &[Source]) {
        self.order = sources.iter().map(|source| source.path.clone()).collect();
        let mut before = std::mem::take(&mut self.files);
        for source in sources {
            if let Some(known) = before.remove(&source.path).filter(|known| known.digest == source.digest) {
                self.files.insert(source.path.clone(), known);
            }
        }
        let mut taken: Vec<u32> = self.files.values().map(|known| known.id.0).collect();
        taken.sort_unstable();
        let folder = folder_of(&self.path);
        let mut free = (0..).filter(|id| taken.binary_search(id).is_err());
        for source in sources {
            if !self.files.contains_key(&source.path) {
                let id = FileId(free.next().unwrap_or(u32::MAX));
                self.files.insert(source.path.clone(), decode_one(source, id, &self.policies, &self.caps, &folder));
            }
        }
    }

    fn report(&self, diagnostics: &Diagnostics, sources: &[Source]) -> Report {
        let mut findings = Vec::with_capacity(diagnostics.found().len());
        for source in sources {
            let Some(known) = self.files.get(&source.path) else { continue };
            let mut here: Vec<&Diagnostic> = diagnostics.found().iter().filter(|d| d.position.file == known.id).collect();
            // Warnings are about a configuration that loads; of one that does not they may only be consequences.
            here.retain(|d| d.severity == Severity::Error || !diagnostics.has_errors());
            here.sort_by_key(|d| d.position);
            findings.extend(with_lines(&here, source));
        }
        Report { findings, omitted: diagnostics.omitted() }
    }
}

/// Where the lines of `allow` are written.
fn lines_of(access: &AccessSettings) -> Vec<(u32, u32)> {
    match access {
        AccessSettings::Public => Vec::new(),
        AccessSettings::Allow(allowed) => {
            allowed.lines.iter().map(|(_, line)| (line.position.line, line.position.column)).collect()
        }
    }
}

/// Reads a file of settings that is no configuration, by the same rules, and with the same findings.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_settings<T: Decode>(path: &Path) -> Result<T, Report> {
    let caps = Caps::default();
    let sources = read_all(vec![path.to_owned()], &caps).map_err(unreadable)?;
    let mut diagnostics = Diagnostics::new(Arc::default(), &[]).in_folder(folder_of(path));
    let tree = sources.first().and_then(|one| crate::read::read(FileId(0), &one.bytes, caps.values_max, &mut diagnostics));
    match tree.and_then(|tree| T::decode(&tree.root(), &mut diagnostics)) {
        Some(settings) if !diagnostics.has_errors() => Ok(settings),
        _ => {
            let mut found: Vec<&Diagnostic> = diagnostics.found().iter().collect();
            found.sort_by_key(|one| one.position);
            let findings = sources.first().map(|one| with_lines(&found, one)).unwrap_or_default();
            Err(Report { findings, omitted: diagnostics.omitted() })
        }
    }
}

fn decode_one(source: &Source, id: FileId, policies: &Arc<[PolicySchema]>, caps: &Caps, folder: &Path) -> Known {
    let mut diagnostics = Diagnostics::new(Arc::clone(policies), LATER).in_folder(folder);
    let tree = crate::read::read(id, &source.bytes, caps.values_max, &mut diagnostics);
    let config = tree.and_then(|tree| ConfigFile::decode(&tree.root(), &mut diagnostics));
    Known { id, digest: source.digest, config, diagnostics }
}

/// Findings of one file, sorted by line, with their lines.
fn with_lines(found: &[&Diagnostic], source: &Source) -> Vec<Finding> {
    let file: Arc<str> = source.path.to_string_lossy().into();
    let mut lines = (1_u32..).zip(source.bytes.split(|byte| *byte == b'\n')).peekable();
    let mut out = Vec::with_capacity(found.len());
    for diagnostic in found {
        while lines.next_if(|(number, _)| *number < diagnostic.position.line).is_some() {}
        let line = lines.peek().filter(|(number, _)| *number == diagnostic.position.line && !diagnostic.hide_source);
        out.push(Finding {
            severity: diagnostic.severity,
            file: Arc::clone(&file),
            line: diagnostic.position.line,
            column: diagnostic.position.column,
            width: diagnostic.width,
            path: diagnostic.path.clone(),
            what: diagnostic.what.clone(),
            help: diagnostic.help.clone(),
            source: line
                .map(|(_, bytes)| String::from_utf8_lossy(bytes).trim_end().into())
                .filter(|text: &String| !text.is_empty()),
        });
    }
    out
}

fn unreadable(files: Vec<Unreadable>) -> Report {
    let finding = |file: Unreadable| Finding {
        severity: Severity::Error,
        file: file.path.to_string_lossy().into(),
        line: 0,
        column: 0,
        width: 0,
        path: String::new(),
        what: file.what,
        help: Some(file.help),
        source: None,
    };
    Report { findings: files.into_iter().map(finding).collect(), omitted: 0 }
}
