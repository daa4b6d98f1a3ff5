/// What the corpus needs of a tokenizer. One that has special tokens leaves them out of `encode`.
pub trait Encode: Sync {
    /// Ids of a text, in order; the whole text must come out of them again, save for what the
    /// tokenizer normalises away. The error is a sentence.
    fn encode(&self, text: &str) -> Result<Vec<u32>, String>;

    /// Whether a character may begin with this token: false for one whose first byte continues a
    /// character that an earlier token began. A cut before a token that starts a character is a
    /// cut between characters, which is all that splitting needs.
    fn starts_character(&self, id: u32) -> bool;

    /// Adds the bytes that a token stands for: what tells which characters it covers.
    fn push_bytes(&self, id: u32, into: &mut Vec<u8>);

    /// Whether this is one of the tokenizer's special tokens. A text can hold one: it is data there, and counted.
    fn is_special(&self, _id: u32) -> bool {
        false
    }

    /// Whether this token shows as, or holds, U+FFFD when it is decoded alone.
    fn replacement_token(&self, id: u32) -> bool;
}
