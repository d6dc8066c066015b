/// The user wrote something that cannot be understood. The message says what, and what would be.
struct UsageError: Error, Hashable, CustomStringConvertible {
  /// One line for a person; it may quote what was written, and never contains a secret.
  let message: String

  init(_ message: String) { self.message = message }

  var description: String { message }
}
