//! What a process does with names: whole files, folders, and opening.

use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

use rand::RngExt as _;

use super::event::Op;
use super::file::{File, Order};
use super::state::{FileId, State, full, gone, to_u64};

/// How the name of a half-written replacement ends; it begins with a dot.
const TEMPORARY: &str = ".new";

impl State {
    pub(super) fn read(&mut self, path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        if self.is_off {
            return Err(gone());
        }
        self.stats.reads += 1;
        let path = plain(path);
        if self.has_folder(&path) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.check_no_file_above(&path)?;
        let Some(file) = self.names.get(&path).and_then(|id| self.files.get(id)) else { return Ok(None) };
        if file.bytes().len() > bytes_max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {bytes_max} bytes")));
        }
        Ok(Some(file.bytes().to_vec()))
    }

    pub(super) fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let path = self.check_name(path)?;
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let temporary = path.with_file_name(format!(".{name}{TEMPORARY}"));
        self.change(|state, is_cut| {
            if state.is_full && !bytes.is_empty() {
                state.put_file(&temporary, Vec::new());
                return Err(full());
            }
            let is_synced = state.try_sync(&path);
            if is_synced.is_err() || !state.got_through(is_cut) {
                let written = state.draws.random_range(0..=bytes.len());
                state.put_file(&temporary, bytes.split_at(written).0.to_vec());
                return is_synced;
            }
            state.unname(&temporary);
            let id = state.put_file(&path, bytes.to_vec());
            state.stats.bytes_replaced += to_u64(bytes.len());
            state.look_at(id, 0..bytes.len());
            state.note(Op::Replace, &path, to_u64(bytes.len()));
            Ok(())
        })
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let path = named_path(path)?;
        if self.has_folder(&path) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.check_no_file_above(&path)?;
        self.change(|state, is_cut| {
            if state.names.contains_key(&path) && state.got_through(is_cut) {
                state.unname(&path);
                state.note(Op::Remove, &path, 0);
            }
            Ok(())
        })
    }

    pub(super) fn list(&mut self, folder: &Path) -> io::Result<Vec<String>> {
        if self.is_off {
            return Err(gone());
        }
        self.stats.reads += 1;
        let folder = plain(folder);
        if self.names.contains_key(&folder) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let mut names = Vec::new();
        for path in self.names.keys().filter(|path| path.parent() == Some(&folder)) {
            let name = path.file_name().and_then(OsStr::to_str);
            let name = name.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a file name is not UTF-8"))?;
            if !(name.starts_with('.') && name.ends_with(TEMPORARY)) {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    pub(super) fn create_dir(&mut self, folder: &Path) -> io::Result<()> {
        let folder = plain(folder);
        if self.names.contains_key(&folder) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.check_no_file_above(&folder)?;
        if self.has_folder(&folder) {
            return if self.is_off { Err(gone()) } else { Ok(()) };
        }
        self.change(|state, is_cut| {
            if state.is_full {
                return Err(full());
            }
            let mut missing: Vec<&Path> = folder.ancestors().filter(|above| !state.has_folder(above)).collect();
            missing.reverse();
            for made in missing {
                if !state.got_through(is_cut) {
                    break;
                }
                state.folders.insert(made.to_owned());
            }
            state.note(Op::CreateDir, &folder, 0);
            Ok(())
        })
    }

    /// Opens and locks a file, which is made when it is not there. Gives its length, too.
    pub(super) fn open(&mut self, path: &Path, order: Order) -> io::Result<(FileId, u64)> {
        let path = self.check_name(path)?;
        if self.is_off {
            return Err(gone());
        }
        let id = match self.names.get(&path) {
            Some(id) => *id,
            None => self.change(|state, is_cut| {
                if state.is_full {
                    return Err(full());
                }
                if !state.got_through(is_cut) {
                    return Err(gone());
                }
                state.note(Op::Create, &path, 0);
                Ok(state.put_file(&path, Vec::new()))
            })?,
        };
        let Some(file) = self.files.get_mut(&id) else { return Err(gone()) };
        if file.is_open {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "somebody else has the file open"));
        }
        file.is_open = true;
        file.order = order;
        Ok((id, to_u64(file.bytes().len())))
    }

    fn put_file(&mut self, path: &Path, bytes: Vec<u8>) -> FileId {
        self.unname(path);
        let id = FileId(self.next_file);
        self.next_file += 1;
        self.names.insert(path.to_owned(), id);
        self.files.insert(id, File::new(path.to_owned(), bytes));
        id
    }

    fn unname(&mut self, path: &Path) {
        let Some(id) = self.names.remove(path) else { return };
        if let Some(file) = self.files.get_mut(&id) {
            file.is_named = false;
            if !file.is_open {
                self.files.remove(&id);
            }
        }
    }

    pub(super) fn named(&self, path: &Path) -> io::Result<FileId> {
        self.names.get(&plain(path)).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn has_folder(&self, path: &Path) -> bool {
        path.as_os_str().is_empty() || path == Path::new("/") || self.folders.contains(path)
    }

    /// A file may be made under this name.
    fn check_name(&self, path: &Path) -> io::Result<PathBuf> {
        let path = named_path(path)?;
        self.check_above(&path)?;
        if self.has_folder(&path) { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(path) }
    }

    /// The folder in which this stands is there, and is one.
    fn check_above(&self, path: &Path) -> io::Result<()> {
        self.check_no_file_above(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        if self.has_folder(folder) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn check_no_file_above(&self, path: &Path) -> io::Result<()> {
        let is_below_file = path.ancestors().skip(1).any(|above| self.names.contains_key(above));
        if is_below_file { Err(io::ErrorKind::NotADirectory.into()) } else { Ok(()) }
    }
}

/// The path without `.` in front, so that each file has one name.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|component| *component != Component::CurDir).collect()
}

fn named_path(path: &Path) -> io::Result<PathBuf> {
    if path.file_name().and_then(OsStr::to_str).is_none() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the path of a file"));
    }
    Ok(plain(path))
}
