/// What the corpus needs of a tokenizer.
pub trait Encode: Sync {
    /// Token ids of a text, without added special tokens. Decoding them must give the whole text back, except
    /// for what the tokenizer normalises away. The error is a sentence.
    fn encode(&self, text: &str) -> Result<Vec<u32>, String>;

    /// Whether a character may begin with this token. False if the token's first byte continues a character of
    /// the token before. A cut before a token that starts a character is a cut between characters.
    fn starts_character(&self, id: u32) -> bool;

    /// Appends the bytes of a token.
    fn push_bytes(&self, id: u32, into: &mut Vec<u8>);

    /// Whether this is a special token. A special token in the text itself is counted as data.
    fn is_special(&self, _id: u32) -> bool {
        false
    }

    /// Whether this token, decoded alone, contains U+FFFD.
    fn replacement_token(&self, id: u32) -> bool;
}
