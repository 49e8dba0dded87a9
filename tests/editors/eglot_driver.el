;;; eglot_driver.el --- Emacs as a person uses it: open a file, complete, run a rewrite, save  -*- lexical-binding: t -*-

;; emacs --batch -l docs-block.el -l eglot_driver.el FILE REPORT: the configuration is the documented one.

(require 'eglot)
(require 'json)

(defun wait-for (what condition)
  "Wait until CONDITION holds; exit with WHAT when it never does."
  (let ((limit (+ (float-time) 60)))
    (while (not (funcall condition))
      (when (> (float-time) limit)
        (message "timed out: %s" what)
        (kill-emacs 1))
      (accept-process-output nil 0.05))))

(let* ((file (nth 0 command-line-args-left))
       (report (nth 1 command-line-args-left))
       (command-line-args-left nil)
       (eglot-sync-connect 30)
       (eglot-confirm-server-initiated-edits nil)
       (state nil)
       server)
  (cl-defmethod eglot-handle-notification (_server (_method (eql seedls/stateChanged)) &key ((:state new)) &allow-other-keys)
    (setq state new))
  (find-file file)
  (unless (eglot-managed-p)
    (apply #'eglot (eglot--guess-contact)))
  (wait-for "the server" (lambda () (setq server (eglot-current-server))))
  (wait-for "the model"
            (lambda () (equal (plist-get (jsonrpc-request server :seedls/status '(:x 1)) :state) "ready")))
  (goto-char (point-min))
  (search-forward "b):\n    ")
  (let* ((table (nth 2 (eglot-completion-at-point)))
         (candidates (all-completions "" table)))
    (insert (substring-no-properties (car candidates)))
    (with-temp-file report
      (insert (json-encode `((candidates . ,(mapcar #'substring-no-properties candidates)))))))
  (let* ((actions (eglot-code-actions (point-min) (point-max) "refactor.rewrite"))
         (wanted (seq-find (lambda (one) (string-prefix-p "Add type hints" (plist-get one :title))) actions))
         (tick (buffer-modified-tick)))
    (eglot-execute-command server (intern (plist-get (plist-get wanted :command) :command))
                           (plist-get (plist-get wanted :command) :arguments))
    (wait-for "the rewrite" (lambda () (/= tick (buffer-modified-tick)))))
  (save-buffer))

;;; eglot_driver.el ends here
