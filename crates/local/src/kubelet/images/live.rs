//! The table of images while the node runs: files of mappings are read again whenever an image is looked up.
//!
//! A file that can't be read or makes no sense keeps what it said last, and that is told to whoever looks.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::{BadMapping, Images, Layers, MappingFile};

pub(crate) struct Live {
    built_in: Images,
    flags: Images,
    state: Mutex<State>,
}

struct State {
    files: Vec<Known>,
    merged: Arc<Images>,
}

/// What is known of a file.
struct Known {
    file: MappingFile,
    /// As it was read last; `None` when it was not there, or not yet looked at.
    text: Option<String>,
    good: Images,
    problem: Option<String>,
}

/// The table of this moment.
pub(crate) struct View {
    pub(crate) images: Arc<Images>,
    /// Files that are not followed, and why.
    pub(crate) problems: Vec<String>,
}

impl Live {
    pub(crate) fn new(layers: Layers) -> Self {
        let known = |file| Known {
            file,
            text: None,
            good: Images::default(),
            problem: None,
        };
        let live = Self {
            state: Mutex::new(State {
                files: layers.files.into_iter().map(known).collect(),
                merged: Arc::default(),
            }),
            built_in: layers.built_in,
            flags: layers.flags,
        };
        live.merge(&mut live.state.lock().unwrap_or_else(PoisonError::into_inner));
        live
    }

    /// Names by which our own binary is found in containers.
    pub(crate) fn commands(&self) -> &[String] {
        self.built_in.commands()
    }

    /// Reads what has changed. Files are small and containers start seldom: no watching, and no moment at which a
    /// change is not yet seen.
    pub(crate) fn look(&self) -> View {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        for known in &mut state.files {
            changed |= known.refresh();
        }
        if changed {
            self.merge(&mut state);
        }
        View {
            images: state.merged.clone(),
            problems: state
                .files
                .iter()
                .filter_map(|known| known.problem.clone())
                .collect(),
        }
    }

    fn merge(&self, state: &mut State) {
        let mut merged = self.built_in.clone();
        state.files.iter().for_each(|known| merged.extend(&known.good));
        merged.extend(&self.flags);
        state.merged = Arc::new(merged);
    }
}

impl Known {
    /// Whether it says something new.
    fn refresh(&mut self) -> bool {
        let text = match self.file.text() {
            Ok(text) => text,
            Err(error) => {
                self.fail(&error);
                // Once it can be read again it is looked at again, whatever it says.
                self.text = None;
                return false;
            }
        };
        if text == self.text && (text.is_some() || self.problem.is_none()) {
            return false;
        }
        let parsed = text
            .as_deref()
            .map_or_else(|| Ok(Images::default()), |text| self.file.parse(text));
        self.text = text;
        match parsed {
            Ok(images) => {
                self.problem = None;
                let changed = images != self.good;
                self.good = images;
                changed
            }
            Err(error) => {
                self.fail(&error);
                false
            }
        }
    }

    fn fail(&mut self, error: &BadMapping) {
        let problem = format!("{error}; what it said before stays in force");
        if self.problem.as_ref() != Some(&problem) {
            tracing::warn!("{problem}");
        }
        self.problem = Some(problem);
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Live").finish_non_exhaustive()
    }
}

/// Whether `directory` holds the state directory, which no container may see.
pub(crate) fn holds(directory: &Path, state: &Path) -> bool {
    state.starts_with(directory) || directory.starts_with(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(view: &View, image: &str) -> Option<String> {
        view.images.find(image).map(|program| program.argv.join(" "))
    }

    fn live(path: &Path, required: bool) -> Live {
        let mut layers = Layers {
            files: vec![MappingFile {
                path: path.to_owned(),
                required,
            }],
            ..Layers::default()
        };
        layers
            .built_in
            .insert_mapping("curl=/bin/curl", Path::new("/"))
            .unwrap();
        layers
            .flags
            .insert_mapping("fixed=/bin/fixed", Path::new("/"))
            .unwrap();
        Live::new(layers)
    }

    #[test]
    fn a_file_that_changes_is_followed_and_flags_win() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("images.yaml");
        let live = live(&path, false);
        assert_eq!(program(&live.look(), "curl").as_deref(), Some("/bin/curl"));
        std::fs::write(&path, "curl: /a\nfixed: /b\n").unwrap();
        let view = live.look();
        assert_eq!(program(&view, "curl").as_deref(), Some("/a"));
        assert_eq!(program(&view, "fixed").as_deref(), Some("/bin/fixed"));
        std::fs::write(&path, "curl: /c\n").unwrap();
        assert_eq!(program(&live.look(), "curl").as_deref(), Some("/c"));
        std::fs::remove_file(&path).unwrap();
        let view = live.look();
        assert_eq!(program(&view, "curl").as_deref(), Some("/bin/curl"));
        assert!(view.problems.is_empty());
    }

    #[test]
    fn a_broken_file_keeps_what_it_said_and_is_told_until_it_is_mended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("images.yaml");
        std::fs::write(&path, "app: /one\n").unwrap();
        let live = live(&path, true);
        assert_eq!(program(&live.look(), "app").as_deref(), Some("/one"));
        std::fs::write(&path, "app: [\n").unwrap();
        for _ in 0..2 {
            let view = live.look();
            assert_eq!(program(&view, "app").as_deref(), Some("/one"));
            assert!(view.problems[0].contains("line"), "{:?}", view.problems);
        }
        std::fs::remove_file(&path).unwrap();
        assert!(live.look().problems[0].contains("cannot read"));
        assert_eq!(program(&live.look(), "app").as_deref(), Some("/one"));
        std::fs::write(&path, "app: /two\n").unwrap();
        let view = live.look();
        assert_eq!(
            (program(&view, "app").as_deref(), view.problems.len()),
            (Some("/two"), 0)
        );
    }

    #[test]
    fn the_state_directory_is_found_above_and_below() {
        let state = Path::new("/home/me/.amime");
        assert!(holds(Path::new("/home/me"), state) && holds(Path::new("/home/me/.amime/x"), state));
        assert!(!holds(Path::new("/home/me/app"), state));
    }
}
