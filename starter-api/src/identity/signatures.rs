//! The cryptography of tokens. The token library leaves it to its user: here it is ring, as for all
//! other cryptography.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::jwk::{EllipticCurve, ThumbprintHash};
use jsonwebtoken::signature::{Error as SignatureError, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, KeyPair,
    RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

/// The algorithms in use: tokens are signed with ES256, and verified with ES256, RS256 and `EdDSA`.
static RING: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| signer(*algorithm, key),
    verifier_factory: |algorithm, key| verifier(*algorithm, key),
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: |_key| Err(ErrorKind::UnsupportedAlgorithm.into()),
        rsa_pub_components_from_public_key: |_key| Err(ErrorKind::UnsupportedAlgorithm.into()),
        ec_pub_components_from_private_key: point,
        ed_pub_components_from_private_key: |_key, _curve| {
            Err(ErrorKind::UnsupportedAlgorithm.into())
        },
        compute_digest: |data, hash| thumbprint(data, &hash),
    },
};

/// Makes ring the cryptography provider for the tokens of this process.
pub(super) fn by_ring() {
    // If another thread was first, it has installed the same provider.
    let _is_first = RING.install_default().is_ok();
}

fn signer(algorithm: Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    if algorithm != Algorithm::ES256 || key.family() != AlgorithmFamily::Ec {
        return Err(ErrorKind::UnsupportedAlgorithm.into());
    }
    Ok(Box::new(Es256(es256(key.as_bytes())?)))
}

/// A key pair in PKCS #8.
fn es256(private_key: &[u8]) -> Result<EcdsaKeyPair> {
    let (scheme, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    EcdsaKeyPair::from_pkcs8(scheme, private_key, &random)
        .map_err(|_rejected| ErrorKind::InvalidEcdsaKey.into())
}

/// Signs the shop's own tokens.
struct Es256(EcdsaKeyPair);

impl Signer<Vec<u8>> for Es256 {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, SignatureError> {
        let signature = self.0.sign(&SystemRandom::new(), message);
        Ok(signature.map_err(|_unspecified| SignatureError::new())?.as_ref().to_vec())
    }
}

impl JwtSigner for Es256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::ES256
    }
}

fn verifier(algorithm: Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    Ok(Box::new(Check { algorithm, key: key.clone() }))
}

/// Verifies signatures of one algorithm with one key.
struct Check {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Check {
    fn holds(&self, message: &[u8], signature: &[u8]) -> bool {
        let by = |scheme: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(scheme, key).verify(message, signature).is_ok()
        };
        match self.key.kind() {
            DecodingKeyKind::SecretOrDer(key) if self.algorithm == Algorithm::ES256 => {
                by(&ECDSA_P256_SHA256_FIXED, key)
            }
            DecodingKeyKind::SecretOrDer(key) if self.algorithm == Algorithm::EdDSA => {
                by(&ED25519, key)
            }
            DecodingKeyKind::RsaModulusExponent { n, e } if self.algorithm == Algorithm::RS256 => {
                let key = RsaPublicKeyComponents { n: number(n), e: number(e) };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
            DecodingKeyKind::SecretOrDer(_) | DecodingKeyKind::RsaModulusExponent { .. } => false,
        }
    }
}

impl Verifier<Vec<u8>> for Check {
    fn verify(
        &self,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> std::result::Result<(), SignatureError> {
        if self.holds(message, signature) { Ok(()) } else { Err(SignatureError::new()) }
    }
}

impl JwtVerifier for Check {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// A big-endian number without leading zeros, as ring requires; some issuers pad theirs.
fn number(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

/// The public half of an ES256 key.
fn point(private_key: &[u8], algorithm: Algorithm) -> Result<(EllipticCurve, Vec<u8>, Vec<u8>)> {
    if algorithm != Algorithm::ES256 {
        return Err(ErrorKind::UnsupportedAlgorithm.into());
    }
    let pair = es256(private_key)?;
    let public: &[u8] = pair.public_key().as_ref();
    // Uncompressed: the byte 4, and two coordinates of 32 bytes.
    match public {
        [4, point @ ..] if point.len() == 64 => {
            let (x, y) = point.split_at(32);
            Ok((EllipticCurve::P256, x.to_vec(), y.to_vec()))
        }
        _ => Err(ErrorKind::InvalidEcdsaKey.into()),
    }
}

fn thumbprint(data: &[u8], hash: &ThumbprintHash) -> Result<Vec<u8>> {
    if *hash != ThumbprintHash::SHA256 {
        return Err(ErrorKind::UnsupportedAlgorithm.into());
    }
    Ok(digest(&SHA256, data).as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::crypto::{sign, verify};
    use jsonwebtoken::jwk::Jwk;

    use super::*;

    /// Generated for this test by another library, in the form in which earlier releases stored
    /// keys.
    const STORED: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQggoS7YMvASpt4YjuzE-zbSpORv\
                          bCI-kCX0OBongy7LlKhRANCAATGlVSgzXHIZx9lP2ZrTeg9BceiKOksIQUDFDTrssm-ZfGFCW\
                          hBXDHsvIYYfK4eDwnZk7q7F0zrxF2AKIaeuHIE";
    /// Its key id, computed by another program.
    const KID: &str = "rmroSK33X2kWqKteDV7MCCfHTkM9yY-Uf7wAG3jKsdg";

    #[test]
    fn a_key_that_an_earlier_release_stored_signs_on_under_its_name() {
        by_ring();
        let key = EncodingKey::from_ec_der(&URL_SAFE_NO_PAD.decode(STORED).unwrap());
        let jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        assert_eq!(jwk.thumbprint(ThumbprintHash::SHA256).unwrap(), KID);
        let signature = sign(b"a token", &key, Algorithm::ES256).unwrap();
        let check = DecodingKey::from_jwk(&jwk).unwrap();
        let holds = |message: &[u8], algorithm| verify(&signature, message, &check, algorithm);
        assert_eq!(holds(b"a token", Algorithm::ES256), Ok(true));
        assert_eq!(holds(b"another token", Algorithm::ES256), Ok(false));
        assert_eq!(holds(b"a token", Algorithm::ES384), Ok(false));
        assert!(holds(b"a token", Algorithm::EdDSA).is_err());
    }

    #[test]
    fn the_zeros_that_an_issuer_writes_before_a_number_do_not_count() {
        assert_eq!(number(&[0, 0, 7, 0]), [7, 0]);
        assert_eq!(number(&[7]), [7]);
        assert_eq!(number(&[0]), [0_u8; 0]);
    }
}
