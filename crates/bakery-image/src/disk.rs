//! A tree to a bootable disk: GPT, BIOS boot code, EFI system partition, ext4. No loop device and no mount: every part
//! is written into the file where it belongs.

use std::collections::BTreeMap;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use bakery_host::{Cmd, fs};
use gpt::disk::LogicalBlockSize;
use gpt::partition_types;

use crate::boot_files::{GRUB_MODULES, grub_early};
use crate::rootfs::Rootfs;
use crate::{Error, Result};

const MIB: u64 = 1 << 20;
const SECTOR: u64 = 512;
/// BIOS boot code from 1 MiB, the EFI system partition from 4 MiB, the root from 68 MiB to the end, so that it grows.
const BIOS: (u64, u64) = (MIB, 3 * MIB);
const ESP: (u64, u64) = (4 * MIB, 64 * MIB);
const ROOT_START: u64 = 68 * MIB;

/// What the disk is made with.
pub(crate) struct Disk<'a> {
    pub(crate) size: u64,
    pub(crate) root_uuid: &'a str,
    /// Seed of all other identifiers: the same image gives the same disk.
    pub(crate) seed: &'a str,
}

fn identifier(seed: &str, name: &str) -> uuid::Uuid {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{seed} {name}").as_bytes())
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |e| Error::new(format!("cannot write `{}`: {e}", path.display()))
}

/// Writes the disk to a new file.
pub(crate) fn write(path: &Path, rootfs: &Rootfs, agent: &Path, disk: &Disk<'_>) -> Result<()> {
    let file = fs::create(path)?;
    file.set_len(disk.size).map_err(io(path))?;
    drop(file);
    partitions(path, disk)?;
    root(path, rootfs, disk)?;
    let (boot, core) = (grub(rootfs, agent)?, grub_core(rootfs, agent, disk, "i386-pc")?);
    bios(path, boot, core)?;
    esp(path, &grub_core(rootfs, agent, disk, "x86_64-efi")?, disk)
}

fn partitions(path: &Path, disk: &Disk<'_>) -> Result<()> {
    let bad = |e: gpt::GptError| Error::new(format!("cannot partition `{}`: {e}", path.display()));
    let mut device = fs::open_rw(path)?;
    let sectors = u32::try_from(disk.size / SECTOR - 1).unwrap_or(u32::MAX);
    gpt::mbr::ProtectiveMBR::with_lb_size(sectors)
        .overwrite_lba0(&mut device)
        .map_err(|e| Error::new(e.to_string()))?;
    let mut table = gpt::GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(device, Some(identifier(disk.seed, "disk")))
        .map_err(bad)?;
    table.update_partitions(BTreeMap::new()).map_err(bad)?;
    let root_end = (disk.size / SECTOR - 34) / 2048 * 2048;
    for (name, number, start, length, kind) in [
        ("bios", 2, BIOS.0, BIOS.1, partition_types::BIOS),
        ("esp", 3, ESP.0, ESP.1, partition_types::EFI),
        ("root", 1, ROOT_START, root_end * SECTOR - ROOT_START, partition_types::LINUX_ROOT_X64),
    ] {
        table.add_partition_at(name, number, start / SECTOR, length / SECTOR, kind, 0).map_err(bad)?;
    }
    let mut parts = table.take_partitions();
    for (number, part) in &mut parts {
        part.part_guid = identifier(disk.seed, &format!("partition {number}"));
    }
    table.update_partitions(parts).map_err(bad)?;
    let device = table.write().map_err(bad)?;
    device.sync_all().map_err(io(path))
}

fn root(path: &Path, rootfs: &Rootfs, disk: &Disk<'_>) -> Result<()> {
    let kib = ((disk.size / SECTOR - 34) / 2048 * 2048 * SECTOR - ROOT_START) / 1024;
    let options = format!(
        "hash_seed={},offset={ROOT_START},lazy_itable_init=1,lazy_journal_init=1,nodiscard",
        identifier(disk.seed, "hash")
    );
    Cmd::new("mke2fs")
        .args([
            "-q",
            "-t",
            "ext4",
            "-m",
            "1",
            "-L",
            "root",
            "-O",
            "^metadata_csum_seed,^orphan_file",
            "-U",
            disk.root_uuid,
            "-E",
            &options,
            "-d",
        ])
        .arg(rootfs.path())
        .arg(path)
        .arg(format!("{kib}k"))
        .run()
        .map_err(|e| {
            Error::new(format!("the root file system could not be written: {e}"))
                .hint("does the image fit? `size` of the disk builder sets the disk's size")
        })?;
    Ok(())
}

/// The first-stage boot code of GRUB, read inside the sandbox.
fn grub(rootfs: &Rootfs, agent: &Path) -> Result<Vec<u8>> {
    let output = rootfs.run(agent, "/bin/cat", &["/usr/lib/grub/i386-pc/boot.img"])?;
    if !output.success() || output.stdout.len() != 512 {
        return Err(Error::new("the image has no GRUB for BIOS")
            .hint("the packages grub-pc-bin and grub-efi-amd64-bin belong into the base"));
    }
    Ok(output.stdout)
}

/// GRUB's image with all that it needs, made by the image's own grub-mkimage.
fn grub_core(rootfs: &Rootfs, agent: &Path, disk: &Disk<'_>, platform: &str) -> Result<Vec<u8>> {
    let own: &[&str] =
        if platform == "i386-pc" { &["biosdisk"] } else { &["efi_gop", "efi_uga", "all_video"] };
    let modules: Vec<&str> = GRUB_MODULES.iter().chain(own).copied().collect();
    let script = format!(
        "cat > /dev/shm/early.cfg <<'END'\n{}END\ngrub-mkimage -O {platform} -o /dev/shm/core -c /dev/shm/early.cfg -p /boot/grub {} && cat /dev/shm/core",
        grub_early(disk.root_uuid),
        modules.join(" ")
    );
    let output = rootfs.run(agent, "/bin/sh", &["-c", &script])?;
    if !output.success() || output.stdout.is_empty() {
        return Err(Error::new(format!(
            "the boot loader for {platform} could not be made: {}",
            output.error_text().trim()
        )));
    }
    Ok(output.stdout)
}

/// Boot code into the first sector, the rest into the BIOS boot partition, each told where the next part is
/// (`grub-core/boot/i386/pc/{boot,diskboot}.S`, `util/setup.c` of GRUB).
fn bios(path: &Path, mut boot: Vec<u8>, mut core: Vec<u8>) -> Result<()> {
    let first = BIOS.0 / SECTOR;
    if core.len() as u64 > BIOS.1 || core.len() < 1024 {
        return Err(Error::new("the boot loader does not fit into its partition"));
    }
    boot[0x5c..0x64].copy_from_slice(&first.to_le_bytes());
    boot[0x64] = 0xff;
    // Two no-operations: the drive that the BIOS names is the one to read.
    boot[0x66..0x68].copy_from_slice(&[0x90, 0x90]);
    core.resize(core.len().div_ceil(512) * 512, 0);
    let rest = (core.len() / 512 - 1) as u16;
    core[0x1f4..0x1fc].copy_from_slice(&(first + 1).to_le_bytes());
    core[0x1fc..0x1fe].copy_from_slice(&rest.to_le_bytes());
    core[0x1fe..0x200].copy_from_slice(&0x820u16.to_le_bytes());
    let mut file = fs::open_rw(path)?;
    // The first 440 bytes are code; what follows is the protective partition table.
    file.write_all(&boot[..440]).map_err(io(path))?;
    file.seek(SeekFrom::Start(BIOS.0)).and_then(|_| file.write_all(&core)).map_err(io(path))
}

fn esp(path: &Path, image: &[u8], disk: &Disk<'_>) -> Result<()> {
    let folder = tempfile::tempdir().map_err(|e| Error::new(e.to_string()))?;
    let (fat, efi) = (folder.path().join("esp"), folder.path().join("BOOTX64.EFI"));
    fs::write_atomic(&efi, image)?;
    fs::create(&fat)?.set_len(ESP.1).map_err(io(&fat))?;
    let serial = identifier(disk.seed, "esp").simple().to_string()[..8].to_owned();
    let tool = |cmd: Cmd| {
        cmd.env("SOURCE_DATE_EPOCH", "1500000000")
            .env("MTOOLS_SKIP_CHECK", "1")
            .run()
            .map_err(|e| Error::new(format!("the EFI system partition could not be made: {e}")))
    };
    tool(Cmd::new("mkfs.vfat").args(["-F", "32", "-s", "1", "-n", "ESP", "-i", &serial]).arg(&fat))?;
    tool(Cmd::new("mmd").arg("-i").arg(&fat).args(["::/EFI", "::/EFI/BOOT"]))?;
    tool(Cmd::new("mcopy").arg("-i").arg(&fat).arg(&efi).arg("::/EFI/BOOT/BOOTX64.EFI"))?;
    let bytes = fs::read(&fat)?;
    let mut file = fs::open_rw(path)?;
    // Zeros stay holes.
    for (at, block) in bytes.chunks(4096).enumerate().filter(|(_, b)| b.iter().any(|x| *x != 0)) {
        file.seek(SeekFrom::Start(ESP.0 + at as u64 * 4096))
            .and_then(|_| file.write_all(block))
            .map_err(io(path))?;
    }
    file.sync_all().map_err(io(path))
}
