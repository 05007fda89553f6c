//! What is put into a container that never runs: the root of its volume, which is made its user's.

use std::path::Path;

use crate::docker::{PLACE, folder};

use super::refusal::Refusal;

/// The longest archive.
pub(super) const MAX_BYTES: usize = 16 << 10;

/// An archive with one folder, which is the volume, and belongs to one who is not root; written again from what it says.
pub(super) fn check(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    let refused = || Refusal::forbidden("an archive may only give the root of a volume to a user who is not root");
    let user = user(bytes).ok().flatten().ok_or_else(refused)?;
    folder(user).map_err(|_| refused())
}

fn user(bytes: &[u8]) -> std::io::Result<Option<u32>> {
    let mut archive = tar::Archive::new(bytes);
    let mut entries = archive.entries()?;
    let Some(entry) = entries.next() else { return Ok(None) };
    let entry = entry?;
    let header = entry.header();
    let is_folder = header.entry_type() == tar::EntryType::Directory && header.mode()? == 0o700;
    let (user, group) = (header.uid()?, header.gid()?);
    let named = entry.path()?.as_ref() == Path::new(PLACE);
    let right = is_folder && named && header.size()? == 0 && user == group && user != 0;
    Ok(if right && entries.next().is_none() { u32::try_from(user).ok() } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, tar::EntryType, u32, u64)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, kind, mode, user) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(*mode);
            header.set_uid(*user);
            header.set_gid(*user);
            header.set_size(0);
            archive.append_data(&mut header, name, std::io::empty()).unwrap();
        }
        archive.into_inner().unwrap()
    }

    #[test]
    fn the_root_of_a_volume_is_given_to_a_user() {
        let given = folder(65_534).unwrap();
        assert_eq!(check(&given).unwrap(), given);
    }

    #[test]
    fn nothing_else_is_put_into_a_container() {
        use tar::EntryType::{Directory, Regular, Symlink};
        let good = (PLACE, Directory, 0o700, 1);
        for bad in [
            &[][..],
            &[good, ("volume/x", Regular, 0o755, 1)],
            &[("volume", Regular, 0o700, 1)],
            &[("volume", Directory, 0o777, 1)],
            &[("volume", Directory, 0o4700, 1)],
            &[("volume", Directory, 0o700, 0)],
            &[("etc", Directory, 0o700, 1)],
            &[("volume", Symlink, 0o700, 1)],
        ] {
            assert!(check(&archive(bad)).is_err(), "{bad:?}");
        }
        assert!(check(b"").is_err() && check(&[b'x'; 2048]).is_err());
    }
}
