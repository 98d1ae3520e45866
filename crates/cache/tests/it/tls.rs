//! R5: the second level over TLS, in real Redis servers.

use std::time::Duration;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use teleflow_cache::{
    Redis, RedisConfig, RedisConfigError, RedisIdentity, RedisTls, SecondLevel, SecondLevelError,
};

use crate::server::{Server, missing};

const MINUTE: Duration = Duration::from_secs(60);

/// An authority, and a certificate with its key for each side.
pub(crate) struct Certificates {
    pub(crate) authority: String,
    pub(crate) server: (String, String),
    client: (String, String),
}

impl Certificates {
    fn new() -> Self {
        // Who checks a certificate may do so before anyone has opened a connection.
        _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // By default all have the same name, and would seem to vouch for themselves.
        params.distinguished_name.push(DnType::CommonName, "authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let signed = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            (certificate.pem(), key.serialize_pem())
        };
        let (server, client) = (signed("127.0.0.1"), signed("client.example"));
        Self { authority: issuer.pem(), server, client }
    }

    /// What a client needs.
    pub(crate) fn trust(&self) -> RedisTls {
        let (certificate, key) = self.client.clone();
        let identity = RedisIdentity { certificate: certificate.into(), key: key.into() };
        RedisTls { authorities: Some(self.authority.clone().into()), identity: Some(identity) }
    }
}

/// Patient: a busy machine must not fail the test.
fn config(servers: Vec<String>, tls: RedisTls) -> RedisConfig {
    let patience = Duration::from_secs(10);
    RedisConfig {
        servers,
        connect_timeout: patience,
        answer_timeout: patience,
        tls,
        ..RedisConfig::default()
    }
}

#[tokio::test]
async fn r5_a_server_that_is_trusted_is_used_over_tls_and_no_other() {
    if missing("r5_a_server_that_is_trusted_is_used_over_tls_and_no_other") {
        return;
    }
    let certificates = Certificates::new();
    let server = Server::start_with_tls(&certificates).await;
    let with = |tls| Redis::single(config(vec![server.url()], tls)).unwrap();
    let entries = [(Bytes::from("key"), Bytes::from("value"))];
    let keys = [Bytes::from("key")];

    let redis = with(certificates.trust());
    assert_eq!(redis.set_many(&entries, MINUTE).await, Ok(1));
    let found = redis.get_many(&keys).await.unwrap();
    assert_eq!(found[0].as_ref().unwrap().value, "value");
    assert_eq!(server.ask::<String>("GET teleflow:key"), "value");

    // Another authority vouches for it, or nobody whom this client knows; it shows nothing, or
    // something that the server does not trust; it speaks no TLS.
    let other = Certificates::new();
    let unknown = RedisTls { authorities: other.trust().authorities, ..certificates.trust() };
    let system = RedisTls { authorities: None, ..certificates.trust() };
    let nothing = RedisTls { identity: None, ..certificates.trust() };
    let foreign = RedisTls { identity: other.trust().identity, ..certificates.trust() };
    for (what, tls) in
        [("unknown", unknown), ("system", system), ("nothing", nothing), ("foreign", foreign)]
    {
        let error = with(tls).get_many(&keys).await.unwrap_err();
        assert_eq!(error, SecondLevelError::Unreachable, "{what}");
    }
    let plain = vec![server.url().replace("rediss", "redis")];
    let plain = Redis::single(config(plain, RedisTls::default())).unwrap();
    assert!(plain.get_many(&keys).await.is_err());
}

/// The certificate is for 127.0.0.1, and the server is called by another of its names.
#[tokio::test]
async fn r5_a_server_of_another_name_is_not_trusted() {
    if missing("r5_a_server_of_another_name_is_not_trusted") {
        return;
    }
    let certificates = Certificates::new();
    let server = Server::start_with_tls(&certificates).await;
    let url = server.url().replace("127.0.0.1", "localhost");
    let redis = Redis::single(config(vec![url], certificates.trust())).unwrap();
    let error = redis.get_many(&[Bytes::from("key")]).await.unwrap_err();
    assert_eq!(error, SecondLevelError::Unreachable);
}

/// One server that has all slots is a cluster, too: the layout names it, and it is reached over TLS
/// as the seed is.
#[tokio::test]
async fn r5_the_servers_that_a_layout_names_are_reached_over_tls() {
    if missing("r5_the_servers_that_a_layout_names_are_reached_over_tls") {
        return;
    }
    let certificates = Certificates::new();
    let server = Server::start_cluster_with_tls(&certificates).await;
    let redis = Redis::cluster(config(vec![server.url()], certificates.trust())).unwrap();
    let keys: Vec<Bytes> = (0..50).map(|key| Bytes::from(format!("key-{key}"))).collect();
    let entries: Vec<(Bytes, Bytes)> = keys.iter().map(|key| (key.clone(), key.clone())).collect();
    assert_eq!(redis.set_many(&entries, MINUTE).await, Ok(50));
    let found = redis.get_many(&keys).await.unwrap();
    for (key, found) in keys.iter().zip(found) {
        assert_eq!(found.unwrap().value, key);
    }
    // One connection for the layout, and one to the server that it names.
    assert_eq!((redis.stats().connects, redis.stats().layouts), (2, 1));
}

#[test]
fn r5_certificates_are_read_before_they_are_used_and_never_printed() {
    let certificates = Certificates::new();
    let with = |url: &str, tls| Redis::single(config(vec![url.to_owned()], tls));
    let trust = certificates.trust();
    let text = format!("{:?}", config(vec!["rediss://h".to_owned()], trust.clone()));
    assert!(!text.contains("PRIVATE"), "{text}");
    let text = format!("{trust:?} {:?}", trust.identity);
    assert!(!text.contains("BEGIN"), "{text}");

    let url = "rediss://cache.example";
    assert!(with(url, trust.clone()).is_ok());
    let error = |made: Result<Redis, RedisConfigError>| made.unwrap_err();
    assert_eq!(error(with("rediss://h#insecure", trust.clone())), RedisConfigError::Insecure(0));
    for wrong in [&b""[..], b"no PEM", b"-----BEGIN CERTIFICATE-----\n!\n"] {
        let authorities = RedisTls { authorities: Some(wrong.into()), identity: None };
        assert_eq!(error(with(url, authorities)), RedisConfigError::Certificates);
        let identity =
            RedisIdentity { certificate: wrong.into(), ..trust.identity.clone().unwrap() };
        let identity = RedisTls { authorities: None, identity: Some(identity) };
        assert_eq!(error(with(url, identity)), RedisConfigError::Certificates);
        let key = RedisIdentity { key: wrong.into(), ..trust.identity.clone().unwrap() };
        let key = RedisTls { authorities: None, identity: Some(key) };
        assert_eq!(error(with(url, key)), RedisConfigError::Certificates);
    }
}
