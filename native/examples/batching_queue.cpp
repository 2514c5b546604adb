// Requests of one picture each, run together: who asks waits until its batch has run.
//
//     batching_queue WEIGHTS
#include "digits.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

using Picture = std::array<float, 64>;
using Answer = std::array<float, 10>;

class BatchingQueue
{
public:
    explicit BatchingQueue(digits::Model &model, std::size_t largest)
        : model_(model), largest_(largest), worker_([this] { work(); })
    {
    }

    ~BatchingQueue()
    {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            closed_ = true;
        }
        arrived_.notify_one();
        worker_.join();
    }

    BatchingQueue(const BatchingQueue &) = delete;
    BatchingQueue &operator=(const BatchingQueue &) = delete;

    std::future<Answer> ask(const Picture &picture)
    {
        std::promise<Answer> promise;
        std::future<Answer> answer = promise.get_future();
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            waiting_.push_back({picture, std::move(promise)});
        }
        arrived_.notify_one();
        return answer;
    }

    // Only after the last answer.
    int batches() const { return batches_; }

private:
    struct Request {
        Picture picture;
        std::promise<Answer> promise;
    };

    void work()
    {
        for (;;) {
            std::vector<Request> batch;
            {
                std::unique_lock<std::mutex> lock(mutex_);
                arrived_.wait(lock, [this] { return closed_ || !waiting_.empty(); });
                if (waiting_.empty()) {
                    return;
                }
                while (!waiting_.empty() && batch.size() < largest_) {
                    batch.push_back(std::move(waiting_.front()));
                    waiting_.pop_front();
                }
                batches_++;
            }
            run(batch);
        }
    }

    void run(std::vector<Request> &batch)
    {
        std::vector<float> x;
        for (const Request &request : batch) {
            x.insert(x.end(), request.picture.begin(), request.picture.end());
        }
        digits::Predict::Feeds feeds;
        feeds.x = x;
        try {
            const auto results = model_.predict(feeds);
            for (std::size_t i = 0; i < batch.size(); i++) {
                Answer answer{};
                std::copy_n(results.p.data() + 10 * i, 10, answer.begin());
                batch[i].promise.set_value(answer);
            }
        } catch (...) {
            for (Request &request : batch) {
                request.promise.set_exception(std::current_exception());
            }
        }
    }

    digits::Model &model_;
    const std::size_t largest_;
    std::mutex mutex_;
    std::condition_variable arrived_;
    std::deque<Request> waiting_;
    bool closed_ = false;
    int batches_ = 0;
    std::thread worker_;
};

// Sums are made in another order in batches of other sizes: the last bits may differ.
static bool is_close(const Answer &a, const Answer &b)
{
    return std::equal(a.begin(), a.end(), b.begin(),
                      [](float x, float y) { return std::abs(x - y) <= 1e-5F; });
}

int main(int count, char **arguments)
{
    constexpr int clients = 4, requests = 100;
    if (count != 2) {
        std::fprintf(stderr, "usage: batching_queue WEIGHTS\n");
        return 2;
    }
    try {
        digits::Options options;
        options.weights = arguments[1];
        digits::Model model(options);
        int wrong = 0;
        {
            BatchingQueue queue(model, 16);
            std::vector<std::thread> threads;
            std::mutex counting;
            for (int client = 0; client < clients; client++) {
                threads.emplace_back([&, client] {
                    Picture picture;
                    picture.fill(static_cast<float>(client) / clients);
                    std::vector<std::future<Answer>> answers;
                    for (int i = 0; i < requests; i++) {
                        answers.push_back(queue.ask(picture));
                    }
                    const Answer first = answers[0].get();
                    for (int i = 1; i < requests; i++) {
                        const Answer answer = answers[static_cast<std::size_t>(i)].get();
                        const std::lock_guard<std::mutex> lock(counting);
                        wrong += !is_close(answer, first);
                    }
                });
            }
            for (std::thread &thread : threads) {
                thread.join();
            }
            std::printf("%d requests in fewer batches: %s, %d wrong\n", clients * requests,
                        queue.batches() < clients * requests ? "yes" : "no", wrong);
        }
        return wrong != 0;
    } catch (const digits::Error &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
