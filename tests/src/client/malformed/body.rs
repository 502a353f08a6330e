//! Bodies of any size in little memory.

/// Bytes in the order head, so many times the unit, tail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Body {
    head: Vec<u8>,
    unit: Vec<u8>,
    times: u64,
    tail: Vec<u8>,
}

/// Repeated units are handed out in chunks of about this many bytes.
const CHUNK: usize = 64 * 1024;

impl Body {
    /// These bytes.
    pub fn of(bytes: Vec<u8>) -> Body {
        Body {
            head: bytes,
            ..Body::default()
        }
    }

    /// Bytes with a repeated part in the middle.
    pub fn repeated(head: Vec<u8>, unit: Vec<u8>, times: u64, tail: Vec<u8>) -> Body {
        Body {
            head,
            unit,
            times,
            tail,
        }
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        (self.head.len() + self.tail.len()) as u64 + self.unit.len() as u64 * self.times
    }

    /// The bytes in chunks.
    pub fn chunks(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let per_chunk = (CHUNK / self.unit.len().max(1)).max(1) as u64;
        let whole = self.times / per_chunk;
        let repeated = (0..whole).map(move |_| per_chunk);
        let rest = std::iter::once(self.times % per_chunk);
        std::iter::once(self.head.clone())
            .chain(repeated.chain(rest).map(|times| self.unit.repeat(times as usize)))
            .chain(std::iter::once(self.tail.clone()))
            .filter(|chunk| !chunk.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chunks_are_the_whole_body() {
        for times in [0, 1, 5, CHUNK as u64, 3 * CHUNK as u64 + 1] {
            let body = Body::repeated(b"<".to_vec(), b"ab".to_vec(), times, b">".to_vec());
            let bytes: Vec<u8> = body.chunks().flatten().collect();
            assert_eq!(bytes.len() as u64, body.len());
            assert_eq!(bytes, format!("<{}>", "ab".repeat(times as usize)).into_bytes());
        }
    }

    #[test]
    fn no_chunk_is_large() {
        let body = Body::repeated(vec![], vec![0; 1000], 1_000_000, vec![]);
        assert!(body.chunks().take(20).all(|chunk| chunk.len() <= CHUNK));
    }
}
