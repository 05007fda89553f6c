//! What sandboxes are made from.

use std::{collections::BTreeMap, time::Duration};

use nexus_sandbox::{BuildSpec, Driver, ImageReference, SandboxError};

use tokio::sync::mpsc;

use crate::support::{Speaker, docker, driver, image, program, spec};

#[tokio::test]
async fn an_image_of_a_program_is_built_once() {
    let driver = driver().await;
    let first = image(&driver).await;
    assert!(matches!(first, ImageReference::Id(_)));
    let again = driver.build_from_program(&program(), "nexus-test/probe").await.unwrap();
    assert_eq!((again.image, again.reused), (first, true));
}

#[tokio::test]
async fn only_pinned_images_that_are_there_are_started() {
    let driver = driver().await;
    let tagged = spec("nexus-test/probe:latest".parse().unwrap(), &[]);
    assert!(matches!(driver.start(&tagged).await, Err(SandboxError::NotPinned(_))));
    let absent: ImageReference = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    assert!(matches!(driver.start(&spec(absent, &[])).await, Err(SandboxError::NoImage(_))));
}

/// Nobody who hears the steps.
fn quiet() -> mpsc::Sender<String> {
    mpsc::channel(1).0
}

fn build(dockerfile: &str, name: &str) -> BuildSpec {
    let mut archive = tar::Builder::new(Vec::new());
    let program = std::fs::read(program()).unwrap();
    for (name, bytes) in [("Dockerfile", dockerfile.as_bytes()), ("program", &program)] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes).unwrap();
    }
    BuildSpec {
        context: archive.into_inner().unwrap().into(),
        name: name.to_owned(),
        args: BTreeMap::from([("WHO".to_owned(), "somebody".to_owned())]),
        network: false,
        memory: 256 << 20,
        limit: Duration::from_secs(40),
        anew: false,
    }
}

#[tokio::test]
async fn a_build_tells_its_steps() {
    let driver = driver().await;
    let file = "FROM scratch\nARG WHO\nCOPY program /program\nLABEL who=$WHO\nRUN [\"/program\", \"complain\"]\n";
    let (lines, mut told) = mpsc::channel(100);
    let error = driver.build(build(file, "nexus-test/fails"), lines).await.unwrap_err();
    let said: Vec<String> = std::iter::from_fn(|| told.try_recv().ok()).collect();
    assert!(matches!(&error, SandboxError::Build(why) if why.contains("returned a non-zero code: 7")), "{error}");
    assert!(said.iter().any(|line| line.contains("COPY program")), "{said:?}");

    let file = file.replace("RUN [\"/program\", \"complain\"]\n", "");
    let works = build(&file, "nexus-test/works");
    let built = driver.build(works.clone(), quiet()).await.unwrap();
    let label = docker(&["inspect", "--format", "{{.Config.Labels.who}}", built.image.as_str()]);
    assert_eq!(label, "somebody");
    let mut speaker = Speaker::start(&driver, &spec(built.image.clone(), &[])).await;
    speaker.expect("ready").await;

    // The same is there already, unless it is to be made anew; told something else, it is another.
    let again = driver.build(works.clone(), quiet()).await.unwrap();
    assert_eq!((&again.image, again.reused), (&built.image, true));
    let anew = driver.build(BuildSpec { anew: true, ..works.clone() }, quiet()).await.unwrap();
    assert!(!anew.reused);
    let args = BTreeMap::from([("WHO".to_owned(), "another".to_owned())]);
    assert!(driver.build(BuildSpec { args, ..works }, quiet()).await.unwrap().image != built.image);
}

#[tokio::test]
async fn an_image_brings_no_writable_place_along() {
    let driver = driver().await;
    let file = "FROM scratch\nCOPY program /program\nVOLUME /loot\n";
    let image = driver.build(build(file, "nexus-test/volume"), quiet()).await.unwrap().image;
    let refused = driver.start(&spec(image, &[])).await;
    assert!(matches!(refused, Err(SandboxError::ImageVolume { volume, .. }) if volume == "/loot"));
}
