import Testing

@testable import waysfs

struct StopSequenceTests {
  private func run(_ events: [StopSequence.Event]) -> (actions: [[StopSequence.Action]], phase: StopSequence.Phase) {
    var sequence = StopSequence()
    let actions = events.map { sequence.handle($0) }
    return (actions, sequence.phase)
  }

  @Test func orderlyStop() {
    let run = run([.mounted, .stopRequested, .uploadsFinished, .unmounted])
    #expect(run.actions == [[], [.finishUploads], [.unmount], []])
    #expect(run.phase == .ended)
  }

  @Test func furtherSignalsOnlyReport() {
    let run = run([.mounted, .stopRequested, .stopRequested, .hangup, .stopRequested, .uploadsFinished, .stopRequested])
    #expect(
      run.actions == [
        [], [.finishUploads], [.reportPending], [.logIgnoredHangup], [.reportPending], [.unmount], [.reportPending],
      ])
  }

  @Test func stopWhileStarting() {
    let run = run([.stopRequested, .stopRequested])
    #expect(run.actions == [[.cancelStart], []])
    #expect(run.phase == .cancelled)
  }

  @Test func stopBetweenTheLastCheckAndTheMount() {
    #expect(
      run([.stopRequested, .mounted, .uploadsFinished]).actions == [[.cancelStart], [.finishUploads], [.unmount]])
  }

  @Test func unmountedFromOutside() {
    let run = run([.mounted, .unmounted, .stopRequested])
    #expect(run.actions == [[], [], [.reportPending]])
    #expect(run.phase == .ended)
  }

  @Test func unmountedWhileFinishing() {
    #expect(run([.mounted, .stopRequested, .unmounted, .uploadsFinished]).actions == [[], [.finishUploads], [], []])
  }

  @Test func hangupHasNoEffect() {
    #expect(run([.hangup, .mounted, .hangup]).phase == .serving)
  }
}
