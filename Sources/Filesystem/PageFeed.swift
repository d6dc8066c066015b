import Basics
import DequeModule
import ObjectStore
import Synchronization

/// The pages of one listing. Each is asked for the moment the one before has told how to go on, whatever the reader is
/// doing, so that a long listing takes no longer than the server needs; up to a number of pages ahead of the reader,
/// which grows while it reads. For one reader at a time; `close` from any thread.
final class PageFeed: Sendable {
  private enum Progress {
    /// Nothing is under way; this is how the listing goes on.
    case idle(String?)
    case underway
    case failed(ObjectStoreError, String?)
    case ended
  }

  private struct State {
    var progress = Progress.idle(nil)
    var pages: Deque<ListPage> = []
    var taken = 0
    var reader: Semaphore?
    var isClosed = false
    /// Keys from here on are of no interest.
    var end: ObjectKey?

    /// A reader that stops after the first names should not cost many pages; one that goes on should never wait for a
    /// page that could have been here.
    var mayAskAhead: Bool {
      let most = 32
      return !isClosed && pages.count < min(most, 1 + 2 * taken)
    }

    func hasReachedEnd(_ page: ListPage) -> Bool {
      guard let end, let last = page.entries.last else { return false }
      return last.key >= end
    }
  }

  private enum Step {
    case page(ListPage, askNext: String?)
    case ended
    case failed(ObjectStoreError)
    case wait(ask: Bool, String?)
  }

  private let store: any ObjectStore
  private let prefix: String
  private let isDelimited: Bool
  private let after: ObjectKey?
  private let state = Mutex(State())
  private let cancellation = Cancellation()

  /// - Parameters:
  ///   - prefix: what the keys start with.
  ///   - isDelimited: whether they are folded at the next slash.
  ///   - after: where to begin: with the first key behind this one.
  init(_ store: any ObjectStore, prefix: String, delimited isDelimited: Bool = true, after: ObjectKey? = nil) {
    self.store = store
    self.prefix = prefix
    self.isDelimited = isDelimited
    self.after = after
  }

  /// Asks for the first page, which `next` takes later.
  func start() {
    let isFirst = state.withLock { state in
      guard state.taken == 0, state.pages.isEmpty, case .idle(nil) = state.progress else { return false }
      state.progress = .underway
      return true
    }
    if isFirst { ask(nil) }
  }

  /// Asks for no more pages once a key has come that is not before this one.
  func end(before key: ObjectKey) { state.withLock { $0.end = key } }

  /// Blocks until the next page is there; nil at the end. After an error the next call asks for the same page again.
  /// - Parameter cancellation: ends the wait; the page comes all the same, and is there for the next call.
  func next(_ cancellation: Cancellation? = nil) throws(ObjectStoreError) -> ListPage? {
    var mayWait = true
    while true {
      let wake = Semaphore()
      let step: Step = state.withLock { proceed(&$0, wake) }
      switch step {
      case .page(let page, let token):
        if let token { ask(token) }
        return page
      case .ended: return nil
      case .failed(let error): throw error
      case .wait(let asks, let token):
        if asks { ask(token) }
        guard mayWait else { throw .interrupted }
        wake.wait(cancellation)
        // What has come meanwhile is taken.
        mayWait = cancellation?.isCancelled != true
      }
    }
  }

  private func proceed(_ state: inout State, _ wake: Semaphore) -> Step {
    if let page = state.pages.popFirst() {
      state.taken += 1
      guard case .idle(let token?) = state.progress, state.mayAskAhead else { return .page(page, askNext: nil) }
      state.progress = .underway
      return .page(page, askNext: token)
    }
    switch state.progress {
    case .ended: return .ended
    case .failed(let error, let token):
      state.progress = .idle(token)
      return .failed(error)
    case .idle(let token):
      state.progress = .underway
      state.reader = wake
      return .wait(ask: true, token)
    case .underway:
      state.reader = wake
      return .wait(ask: false, nil)
    }
  }

  private func ask(_ token: String?) {
    let request = ListRequest(
      prefix: prefix, delimited: isDelimited, startAfter: token == nil ? after : nil, continuation: token)
    store.list(request, cancellation) { self.arrived($0, token) }
  }

  private func arrived(_ answer: Result<ListPage, ObjectStoreError>, _ token: String?) {
    let (next, reader): (String?, Semaphore?) = state.withLock { state in
      defer { state.reader = nil }
      switch answer {
      case .failure(let error):
        state.progress = .failed(error, token)
        return (nil, state.reader)
      case .success(let page):
        state.pages.append(page)
        guard let next = page.continuation, !state.hasReachedEnd(page) else {
          state.progress = .ended
          return (nil, state.reader)
        }
        state.progress = state.mayAskAhead ? .underway : .idle(next)
        return (state.mayAskAhead ? next : nil, state.reader)
      }
    }
    // The request first: nothing of what is done with this page keeps the server from the next one.
    if let next { ask(next) }
    reader?.signal()
  }

  /// Nobody reads on.
  func close() {
    state.withLock { $0.isClosed = true }
    cancellation.cancel()
  }
}
